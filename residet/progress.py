"""The progress bar of loops that a user waits for, and log lines that do not run into the bar."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from detectron2.utils import comm
from tqdm import tqdm

_SECONDS = 20


def progress(iterable=None, **options) -> tqdm:
    """A bar with rate and ETA on stderr, in the main process only. If stderr is no terminal: a line every 20 seconds.

    Args:
        iterable: what the loop runs over; None if the caller updates the bar.
        options: further arguments of tqdm.
    """
    if sys.stderr.isatty():
        options |= {"file": sys.stderr, "mininterval": 0.5}
    else:  # `delay`: a loop of fewer seconds says nothing
        options |= {"file": _Lines(sys.stderr), "mininterval": _SECONDS, "delay": _SECONDS, "ascii": True}
    return tqdm(iterable, disable=not comm.is_main_process(), dynamic_ncols=True, **options)


class _Lines:
    """A stream that gets each state of a bar as a line: a file has no cursor that could go back.

    Args:
        stream: the stream that the lines go to.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self._last = ""  # tqdm gives the state at the end of a loop twice

    def write(self, text: str) -> None:
        state = text.replace("\x1b[A", "").strip()  # without the movements of the cursor between several bars
        if state and state != self._last:
            self.stream.write(f"{state}\n")
            self._last = state

    def flush(self) -> None:
        self.stream.flush()


class ConsoleHandler(logging.StreamHandler):
    """Writes log lines to stdout. Bars on a terminal make room for a line, and are drawn again below the line."""

    def __init__(self):
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)
