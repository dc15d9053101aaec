"""What --resume may change: compares the config of a run with the one that OUTPUT_DIR/config.yaml holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backbones.errors import InputError, shown
from residet.schema.files import read_yaml
from residet.schema.kinds import Key, leaves, plain

from detectron2.config import CfgNode

_AT_MOST = 5  # keys in a message


def changes(cfg: CfgNode, table: Mapping[str, Key], iteration: int) -> list[str]:
    """Lines for the log on the keys that --resume changes.

    Args:
        cfg: the whole config of the run that goes on. OUTPUT_DIR/config.yaml is the one that it has had so far; nothing
            is compared where that file is missing.
        table: the rows of the keys.
        iteration: the last iteration in the checkpoint.

    Raises:
        InputError: a key changes whose change would make another run, or the new length has passed.
    """
    file = Path(cfg.OUTPUT_DIR, "config.yaml")
    if not file.is_file():
        return []
    before, now = leaves(read_yaml(file)), leaves(cfg)
    differing = [name for name in table if name in before and plain(before[name]) != now[name]]
    refused = [name for name in differing if not table[name].resume]
    if "SOLVER.STEPS" in differing and _passed(before["SOLVER.STEPS"], iteration) != _passed(
        cfg.SOLVER.STEPS, iteration
    ):
        refused.append("SOLVER.STEPS")
    if refused:
        listed = "; ".join(f"{n}: {shown(plain(before[n]))} → {shown(now[n])}" for n in refused[:_AT_MOST])
        more = f" and {len(refused) - _AT_MOST} more" if len(refused) > _AT_MOST else ""
        raise InputError(
            f"--resume: {listed}{more}: changes the run that {file.parent} holds; leave it as it was, or start a run "
            "in another OUTPUT_DIR"
        )
    if iteration >= cfg.SOLVER.MAX_ITER and "SOLVER.MAX_ITER" in differing:
        raise InputError(
            f"--resume: SOLVER.MAX_ITER: {cfg.SOLVER.MAX_ITER} iterations are over, the run has done {iteration + 1}; "
            "make it longer"
        )
    silent = {"OUTPUT_DIR", "MODEL.WEIGHTS"}  # the folder may have been moved, and a resumed run reads no other weights
    return [
        f"changed since the run was started: {name}: {shown(plain(before[name]))} → {shown(now[name])}"
        for name in differing
        if name not in silent
    ]


def _passed(steps: object, iteration: int) -> list[int]:
    return [step for step in steps if step <= iteration] if isinstance(steps, list | tuple) else []
