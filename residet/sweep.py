"""Runs other tools one after the other, within a time limit. The folder of a run says whether the run is resumed."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backbones.errors import InputError, ToldError
from residet.cli.arguments import processes_of
from residet.fingerprint import read_run
from residet.output import files_of_run, is_resumable, locked


def command_of(tool: Path, processes: int) -> list[str]:
    """The command that runs the Python file `tool`, with torchrun if `processes` is more than 1."""
    return [sys.executable, *processes_of(processes), str(tool)]


def finish(command: Callable[[Sequence[str]], Sequence[str]], folder: Path, deadline: float | None) -> bool:
    """Begins or resumes the run in `folder`, unless the run is finished. A finished run has left results.json.

    A run that was killed before its first checkpoint begins again. Files of others in its folder stay. The caller has
    made sure that the folder holds no other run (`residet.fingerprint.check_fingerprint`).

    Args:
        command: makes the command of the run: (flags) -> command; flags are ["--resume"] or [].
        folder: OUTPUT_DIR of the run.
        deadline: the time.monotonic() at which the run is saved and stopped; None for no limit.

    Returns:
        whether the run is finished now.

    Raises:
        InputError: the run failed, or another process is training in its folder.
    """
    done = folder / "results.json"
    if done.is_file():
        return True
    flags = ["--resume"] if _resumable(folder) else []
    if not flags and folder.is_dir():
        with locked(folder):  # another sweep may be training there, before its first checkpoint
            _forget_start(folder)
    # A run that someone else stops by SIGTERM ends without an error and without results.
    return call(command(flags), deadline) and done.is_file()


def begun(folder: Path) -> bool:
    """Whether a folder holds a run that `finish` would take as it is, or resume."""
    return (folder / "results.json").is_file() or _resumable(folder)


def _resumable(folder: Path) -> bool:
    # A training in phases has its checkpoints in a subfolder for each phase.
    return any(is_resumable(place) for place in (folder, *folder.glob("*/")))


def _forget_start(folder: Path) -> None:
    """Removes the metrics of a run that was killed before its first checkpoint, and of its phases.

    Only files that belong to a run of ours are removed: run.json marks the folder, and names the run's phases.

    Raises:
        InputError: the folder holds files of a run, but no checkpoint that leads to them.
    """
    if run := read_run(folder):
        phases = {str(phase["name"]) for phase in run["fingerprint"]["config"].get("PHASES") or []}
        for metrics in (folder / "metrics.json", *folder.glob("*/metrics.json")):
            if metrics.parent == folder or metrics.parent.name in phases:
                metrics.unlink(missing_ok=True)
    if left := files_of_run(folder):
        raise InputError(f"{folder}: holds {', '.join(left)}, but no checkpoint to resume; name another --output")


def call(command: Sequence[str], deadline: float | None) -> bool:
    """Runs a command. At the deadline and on ctrl-C, sends SIGTERM and waits for the command to end.

    Args:
        command: the command and its arguments.
        deadline: a time.monotonic(); None for no limit.

    Returns:
        whether the command ended before the deadline.

    Raises:
        InputError: the command failed. ToldError: the command has said what the user can mend.
    """
    if deadline and time.monotonic() >= deadline:
        return False
    process = subprocess.Popen(command)
    try:
        code = process.wait(deadline and deadline - time.monotonic())
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as e:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if isinstance(e, KeyboardInterrupt):
            raise KeyboardInterrupt("stopped; the same command goes on") from None
        return False
    if code == 2:
        raise ToldError(f"{shlex.join(command)} failed with exit code 2; its message is above")
    if code:
        raise InputError(f"{' '.join(command)} failed with exit code {code}")
    return True


def deadline_in(minutes: float) -> float | None:
    """The time.monotonic() in so many minutes; None, which is no deadline, for 0 minutes."""
    return time.monotonic() + 60 * minutes if minutes else None
