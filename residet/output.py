"""The folder of a run, OUTPUT_DIR: which run the folder holds, whether another run may write there, and the lock.

The lock is a POSIX record lock (`fcntl.lockf`): the kernel takes it back when the process ends, however it ends, forked
DataLoader workers do not inherit it, and NFS passes it between hosts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from backbones.errors import InputError
from backbones.whole_files import cannot_be_written, write_text

from detectron2.config import CfgNode
from detectron2.utils import comm

T = TypeVar("T")
log = logging.getLogger("residet")

# The first line of a config.yaml that a run has written; a file without the line is the user's own.
_MARK = "# The whole config of the run in this folder, written by residet."
_LOCK = "run.lock"
_OWNER = "process"  # how the content of a lock begins
_held: dict[Path, IO[str]] = {}  # folder -> its lock file, open


def resolve_output(cfg: CfgNode, *, eval_only: bool, resume: bool) -> bool:
    """Keeps one run from writing over another, and takes the lock of OUTPUT_DIR.

    An evaluation in a folder with results gets a subfolder of its own. What a run has left that did not come to its
    first checkpoint is moved to OUTPUT_DIR/stopped-N, and the run begins again. Where torchrun starts the processes
    again after one has failed, the run goes on as if --resume had been given.

    Returns:
        whether the run resumes the one in OUTPUT_DIR.

    Raises:
        InputError: OUTPUT_DIR cannot be written, holds a run that this run does not resume, holds no run to resume, or
            a process is writing there.
    """
    if eval_only:
        cfg.OUTPUT_DIR = in_main_process(lambda: str(_folder_for_evaluation(Path(cfg.OUTPUT_DIR))))
        return False
    return in_main_process(lambda: _take(Path(cfg.OUTPUT_DIR), resume))


def _take(folder: Path, resume: bool) -> bool:
    left_files, resumable = files_of_run(folder), is_resumable(folder)
    if is_restart():
        resume = resumable
    elif resume and not resumable:
        raise InputError(f"--resume: {folder} holds no checkpoint to resume; check OUTPUT_DIR or leave --resume out")
    if resume:
        lock_folder(folder)
        return True
    check_config_is_ours(folder)
    stopped = [name for name in left_files if name == "metrics.json" or name.startswith("model_best")]
    if left_files and (resumable or stopped != left_files or not (folder / "config.yaml").is_file()):
        remedy = "give --resume or another folder" if resumable else "remove it or name another folder"
        raise InputError(f"OUTPUT_DIR: {folder} holds another run ({', '.join(left_files)}); {remedy}")
    lock_folder(folder)
    if stopped:
        _set_aside(folder, stopped)
    return False


def _set_aside(folder: Path, names: list[str]) -> None:
    place = next(p for p in (folder / f"stopped-{i}" for i in itertools.count(1)) if not p.exists())
    place.mkdir()
    for name in names:
        (folder / name).rename(place / name)


def _folder_for_evaluation(folder: Path) -> Path:
    """`folder`, or its first subfolder eval-N that holds no results, locked."""
    for place in itertools.chain([folder], (folder / f"eval-{i}" for i in itertools.count(1))):
        if not files_of_run(place):
            check_config_is_ours(place)
            lock_folder(place)
            return place


def is_restart() -> bool:
    """Whether torchrun has started the processes again after one has failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def files_of_run(folder: Path) -> list[str]:
    """Names of the files in `folder` that show that a run got past its start.

    Empty files do not count: a run that failed at its start leaves them.
    """
    files = [folder / "last_checkpoint", folder / "results.json", folder / "metrics.json", *folder.glob("model*.pth")]
    return [path.name for path in files if path.is_file() and path.stat().st_size]


def is_resumable(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint from which --resume can go on."""
    return bool(_checkpoint_names(folder))


def last_checkpoint(folder: str | Path) -> Path:
    """The checkpoint of the run in `folder` that --resume goes on from.

    A run that was killed between its first checkpoint and the file `last_checkpoint` resumes from that checkpoint.

    Raises:
        InputError: there is no checkpoint, or `last_checkpoint` names no file of the folder.
    """
    folder = Path(folder)
    try:
        name = _checkpoint_names(folder)[0]
    except (OSError, IndexError) as e:
        raise InputError(f"--resume: {folder / 'last_checkpoint'}: cannot be read ({e}); check OUTPUT_DIR") from e
    if Path(name).name != name or not name.isprintable() or not (folder / name).is_file():
        raise InputError(
            f"--resume: {folder / 'last_checkpoint'}: names {name!r}, which is no file of this folder; write the name "
            "of a checkpoint in this folder there"
        )
    return folder / name


def _checkpoint_names(folder: Path) -> list[str]:
    """What `last_checkpoint` names; without that file, the intermediate checkpoints, the latest first."""
    file = folder / "last_checkpoint"
    if file.is_file() and file.stat().st_size:
        return [file.read_text(encoding="utf-8", errors="backslashreplace").strip()]  # a torn file may hold anything
    return sorted((path.name for path in folder.glob("model_[0-9]*.pth") if path.stat().st_size), reverse=True)


def check_config_is_ours(folder: Path) -> None:
    """Raises InputError if `folder` has a config.yaml that no run has written, and that a run would replace."""
    file = folder / "config.yaml"
    if file.is_symlink() or (file.exists() and not _is_ours(file)):
        raise InputError(f"OUTPUT_DIR: {file} was not written by a run, and would be replaced; name another folder")


def _is_ours(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline().rstrip("\n") == _MARK
    except (OSError, UnicodeDecodeError):
        return False


def write_config(cfg: CfgNode) -> None:
    """Writes the whole config as OUTPUT_DIR/config.yaml. An earlier one that differs is kept, as config-N.yaml."""
    file, content = Path(cfg.OUTPUT_DIR, "config.yaml"), f"{_MARK}\n{cfg.dump()}"
    if file.is_file():
        if file.read_text(encoding="utf-8").removeprefix(f"{_MARK}\n") == cfg.dump():
            return
        file.rename(next(p for p in (file.with_name(f"config-{i}.yaml") for i in itertools.count(1)) if not p.exists()))
    write_text(content, file)


def in_main_process(decide: Callable[[], T]) -> T:
    """What `decide` returns in the main process, in every process; every process raises an InputError of `decide`."""
    answer = (None, "")
    if comm.is_main_process():
        try:
            answer = (decide(), "")
        except InputError as e:
            answer = (None, str(e))
    value, error = comm.all_gather(answer)[0]
    if error:
        raise InputError(error)
    return value


def take_folder(folder: Path) -> None:
    """Takes the lock of a folder whose subfolders get the runs of a tool, unless it holds a config.yaml of the user's.

    Raises:
        InputError: see `check_config_is_ours` and `lock_folder`.
    """
    check_config_is_ours(folder)
    lock_folder(folder)


def lock_folder(folder: Path, name: str = "OUTPUT_DIR") -> None:
    """Makes `folder` and takes its lock, until the process ends or calls `release_locks`.

    On a disk that knows no locks, the run goes on without one.

    Args:
        folder: the folder.
        name: the key or option that names the folder, for messages.

    Raises:
        InputError: a run that still goes holds the lock; or the folder cannot be written.
    """
    if folder in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+", encoding="utf-8", errors="replace")
    except (OSError, ValueError) as e:
        raise cannot_be_written(name, folder, e) from e
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            owner = file.read(300).strip() or "another process"
            file.close()
            raise InputError(
                f"{name}: {folder}: {owner} is writing there; wait for it, end it, or name another folder"
            ) from e
        log.warning("%s: the disk knows no locks (%s): let no second run write there", folder, e.strerror)
    file.seek(0)
    if (content := file.read(300)) and not content.startswith(f"{_OWNER} "):
        file.close()
        raise InputError(f"{name}: {folder / _LOCK} was not written by a run, and would be replaced; move it away")
    file.truncate(0)
    file.write(f"{_OWNER} {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[folder] = file


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context in which this process has the lock of `folder`. Raises InputError if a run that still goes has it."""
    held = folder in _held
    lock_folder(folder)
    try:
        yield
    finally:
        if not held:
            _release(folder)


def release_locks() -> None:
    """Gives the locks of this process back. A folder in which nothing else was written is removed."""
    for folder in [*_held]:
        _release(folder)


def _release(folder: Path) -> None:
    # Removed while still locked. A process that opened the file before gets the lock of a file without a name, which is
    # no worse than none: it began when this run was at its end.
    (folder / _LOCK).unlink(missing_ok=True)
    _held.pop(folder).close()
    with contextlib.suppress(OSError):
        folder.rmdir()
