"""The exit code of a tool: 0, 2 with one message where the user can mend what is wrong, 130 after ctrl-C.

This module imports nothing heavy, so that a tool can use it before it imports torch.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import select
import sys
from collections.abc import Callable
from typing import TextIO

from backbones.errors import InputError, ToldError, printable

INTERRUPTED = 130
_DIVERGED = "Start again in another OUTPUT_DIR with a lower SOLVER.BASE_LR or a longer SOLVER.WARMUP_ITERS."
# Nothing can be written or read at a path.
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
_NO_PLACE += (errno.ELOOP,)
_LONGEST = 2000  # characters of a message
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Shown:
    """A text stream that shows control characters, which names from files may hold, instead of passing them on."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def exit_code(run: Callable[[], object]) -> int:
    """Runs a tool. An error that the user cannot mend goes on as the exception that it is.

    Args:
        run: the work of the tool; the modules that it needs may be imported in it.
    """
    _keep_warnings_off_the_console()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every character
            stream.reconfigure(errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(_Shown(sys.stdout)):
            run()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_ended():
            raise
    except KeyboardInterrupt as e:
        print(str(e) or "interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as e:
        message = _message(e)
        if not message:
            raise
        prefix = "" if isinstance(e, ToldError) else "error: "
        print(prefix + _cut(printable(message)), file=sys.stderr)
        return 2
    return 0


def _keep_warnings_off_the_console() -> None:
    """Sends Python's warnings to a logger that prints nothing, unless -W or PYTHONWARNINGS asks for warnings.

    They speak to who writes a program, with paths of libraries. A tool with a log adds the log to the logger.
    """
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logger = logging.getLogger("py.warnings")
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _reader_has_ended() -> bool:
    """Whether nobody reads stdout any more, as behind `| head`. If so, further output is dropped."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLOUT)
    ended = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if ended:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ended


def _cut(text: str) -> str:
    """A message of readable length. Its begin says what is wrong, its end what to do."""
    return text if len(text) <= _LONGEST else f"{text[:1000]} … {text[-500:]}"


def _message(error: Exception) -> str:
    """What to tell the user; "" of an error that the user cannot mend."""
    if isinstance(error, InputError):
        # A DataLoader worker's error arrives with the worker's traceback around its message.
        return str(error).rsplit("InputError: ", 1)[-1].strip()
    if isinstance(error, FloatingPointError):
        return f"{' '.join(str(error).split())} {_DIVERGED}"
    if isinstance(error, ModuleNotFoundError) and error.name == "detectron2":
        return str(error)  # names the command that installs it
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"{error.filename or 'writing'}: {error.strerror}; make room, then go on with --resume"
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename:
        return f"{error.filename}: {error.strerror}; check this path, or name another"
    if type(error).__name__ == "ProcessRaisedException":  # torch.multiprocessing's: the traceback in another process
        return _message_of_process(str(error))
    return ""


def _message_of_process(text: str) -> str:
    """What to tell the user of another process's traceback; "" of an error that the user cannot mend."""
    if "InputError: " in text:
        return text.rpartition("InputError: ")[2].strip()
    if "FloatingPointError: " in text:
        return f"{' '.join(text.rpartition('FloatingPointError: ')[2].split())} {_DIVERGED}"
    if lost := re.search(r"torch\.distributed\.Dist\w*Error: (.*)", text):
        return f"--dist-url: the machines do not find one another ({lost[1]}); check the address and the firewalls"
    return ""
