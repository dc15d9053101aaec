"""Runs of other tools one after the other, within a time; each is finished, resumed or begun as its folder says."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backbones.errors import InputError


def add_arguments(parser: argparse.ArgumentParser, output: str) -> None:
    """What every tool that runs others takes: --processes, --minutes, --output and --set.

    Args:
        output: the default folder of all runs.
    """
    parser.add_argument("--processes", type=int, default=1, help="of each run, one a GPU")
    parser.add_argument("--minutes", type=float, default=0, help="leave after so many, saved; 0 for no limit")
    parser.add_argument("--output", default=output, help="of all runs; the same one goes on with them")
    parser.add_argument(
        "--set", dest="opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for every run"
    )


def command_of(tool: Path, processes: int) -> list[str]:
    """The command that runs a tool, by torchrun where it is to run in several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), str(tool)]


def finish(command: Callable[[Sequence[str]], Sequence[str]], folder: Path, deadline: float | None) -> bool:
    """Whether the run of a folder is finished, by now or after having been run.

    Args:
        command: flags -> the command, with --resume among the flags where the run goes on.
        folder: its OUTPUT_DIR; it is finished where it holds results.json.
        deadline: of time.monotonic(), when it is saved and left; None for no limit.

    Raises:
        InputError: the run failed.
    """
    done = folder / "results.json"
    if done.is_file():
        return True
    # In the folder itself, or in that of a stage.
    flags = ["--resume"] if any(folder.glob("last_checkpoint")) or any(folder.glob("*/last_checkpoint")) else []
    if not flags and folder.is_dir():  # killed before its first checkpoint
        shutil.rmtree(folder)
    return call(command(flags), deadline) and done.is_file()  # someone else may have stopped it too


def call(command: Sequence[str], deadline: float | None) -> bool:
    """Whether the command came to its end in time; it is asked to leave, by SIGTERM, where it does not."""
    if deadline and time.monotonic() >= deadline:
        return False
    process = subprocess.Popen(command)
    try:
        code = process.wait(deadline and deadline - time.monotonic())
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()
        return False
    if code:
        raise InputError(f"{' '.join(command)} failed with exit code {code}")
    return True


def deadline_in(minutes: float) -> float | None:
    """The deadline so many minutes from now; 0 for none."""
    return time.monotonic() + 60 * minutes if minutes else None
