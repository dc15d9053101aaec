"""The folder of a run, OUTPUT_DIR: which run it holds, and whether another one may write there."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_text

from detectron2.config import CfgNode


def resolve_output(cfg: CfgNode, *, eval_only: bool, resume: bool) -> bool:
    """Keeps one run from writing over another: an evaluation in a folder with results gets a subfolder of its own.

    Where torchrun starts the processes again after one has failed, the run goes on as if --resume had been given, or
    begins again if there was no checkpoint yet.

    Returns:
        whether the run resumes the one in OUTPUT_DIR.

    Raises:
        InputError: OUTPUT_DIR holds a run and this run does not resume it, or OUTPUT_DIR holds no run to resume.
    """
    folder = Path(cfg.OUTPUT_DIR)
    left_files = files_of_run(folder)
    if eval_only:
        if left_files:
            subfolders = (folder / f"eval-{i}" for i in itertools.count(1))
            cfg.OUTPUT_DIR = str(next(path for path in subfolders if not files_of_run(path)))
        return False
    resumable = "last_checkpoint" in left_files
    if is_restart():
        return resumable
    if resume and not resumable:
        raise InputError(f"--resume: {folder} holds no checkpoint to resume; check OUTPUT_DIR or leave --resume out")
    if left_files and not resume:
        remedy = "give --resume or another folder" if resumable else "remove it or name another folder"
        raise InputError(f"OUTPUT_DIR: {folder} holds another run ({', '.join(left_files)}); {remedy}")
    return resume


def is_restart() -> bool:
    """Whether torchrun has started the processes again after one has failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def files_of_run(folder: Path) -> list[str]:
    """Names of the files in `folder` that show that a run got past its start.

    Empty files do not count: a run that failed at its start leaves them.
    """
    files = [folder / "last_checkpoint", folder / "results.json", folder / "metrics.json", *folder.glob("model*.pth")]
    return [path.name for path in files if path.is_file() and path.stat().st_size]


def write_config(cfg: CfgNode) -> None:
    """Writes the whole config as OUTPUT_DIR/config.yaml."""
    write_text(cfg.dump(), Path(cfg.OUTPUT_DIR, "config.yaml"))
