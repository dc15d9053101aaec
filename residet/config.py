"""Config of the engine: its keys, what they may hold, and YAML files and KEY VALUE pairs merged into a config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backbones.errors import InputError, did_you_mean
from residet.cli.configs import find_base, find_config
from residet.step import PRECISIONS

import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm
from fvcore.common.config import BASE_KEY


def add_engine_config(cfg: CfgNode) -> None:
    """Adds the keys of the engine to detectron2's SOLVER and TEST."""
    # Number of micro-batches in which a process computes its share of SOLVER.IMS_PER_BATCH, one after the other. The
    # weights are updated once, after the last of them.
    cfg.SOLVER.ACCUMULATE = 1
    # Number format of SOLVER.AMP: "float16" (with a gradient scaler) or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Multiplies SOLVER.BASE_LR by SOLVER.IMS_PER_BATCH / SCALE_LR_FROM_BATCH; 0 leaves BASE_LR as it is.
    cfg.SOLVER.SCALE_LR_FROM_BATCH = 0
    # Number of intermediate checkpoints that stay, beside model_best.pth and model_final.pth; 0 keeps all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 0
    # Exponential moving average of the weights from the end of the warm-up on. The average is evaluated beside the
    # weights, and saved. DECAY 0 leaves the average out.
    cfg.SOLVER.EMA = CfgNode({"DECAY": 0.0, "PERIOD": 1})
    # The state with the best value of this result, such as val/top1_error or bbox/AP, is kept as model_best.pth; ""
    # keeps none.
    cfg.TEST.BEST_METRIC = ""
    # Number of evaluations in a row without a better TEST.BEST_METRIC after which the run ends; 0 for never.
    cfg.TEST.PATIENCE = 0


def check_engine(cfg: CfgNode) -> None:
    """Raises InputError if a key of the engine has a value that cannot be used."""
    solver = cfg.SOLVER
    if solver.AMP.DTYPE not in PRECISIONS:
        raise InputError(f"SOLVER.AMP.DTYPE: {solver.AMP.DTYPE!r} is none of {', '.join(PRECISIONS)}")
    shares = comm.get_world_size() * solver.ACCUMULATE
    if solver.ACCUMULATE < 1 or solver.IMS_PER_BATCH % shares:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH: {solver.IMS_PER_BATCH} is no multiple of {comm.get_world_size()} processes x "
            f"{solver.ACCUMULATE} micro-batches (SOLVER.ACCUMULATE)"
        )
    if cfg.TEST.PATIENCE and not cfg.TEST.BEST_METRIC:
        raise InputError("TEST.PATIENCE: name the metric that should improve, TEST.BEST_METRIC")
    if not 0 <= solver.EMA.DECAY < 1:
        raise InputError(f"SOLVER.EMA.DECAY: {solver.EMA.DECAY} is not from 0 to below 1")
    for key, period in (("EMA.PERIOD", solver.EMA.PERIOD), ("CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD)):
        if period < 1:
            raise InputError(f"SOLVER.{key}: {period} is no number of iterations")


def resolve_engine(cfg: CfgNode) -> list[str]:
    """Draws SEED where it is negative, and scales the learning rate where SOLVER.SCALE_LR_FROM_BATCH asks for it.

    Returns:
        lines for the log on what was changed.
    """
    lines = []
    if cfg.SEED < 0:
        cfg.SEED = comm.shared_random_seed() % 2**31
        lines.append(f"SEED {cfg.SEED}, drawn; give it to --resume")
    solver, reference = cfg.SOLVER, cfg.SOLVER.SCALE_LR_FROM_BATCH
    if reference:
        before, batch = solver.BASE_LR, solver.IMS_PER_BATCH
        solver.BASE_LR = before * batch / reference
        solver.SCALE_LR_FROM_BATCH = 0  # done: --resume reads the config that this run leaves, and must not scale again
        lines.append(f"learning rate {before:g} scaled to {solver.BASE_LR:g}: a batch of {batch}, not {reference}")
    return lines


def merge_config(cfg: CfgNode, config_file: str, opts: list[str]) -> None:
    """Merges a YAML file and KEY VALUE overrides into cfg.

    Raises:
        InputError: the file does not exist or is not YAML; a key is unknown (the nearest is suggested) or of another
            type.
    """
    if config_file:
        file = find_config(config_file)
        _merge(cfg, lambda: cfg.merge_from_other_cfg(CfgNode(_read(file))), str(file))
    merge_options(cfg, opts, "command line")


def merge_options(cfg: CfgNode, opts: list, source: str) -> None:
    """Merges KEY, VALUE, … into cfg. Raises InputError as `merge_config`."""
    if len(opts) % 2:
        raise InputError(f"{source}: overrides are KEY VALUE pairs, {opts[-1]!r} has no partner")
    _merge(cfg, lambda: cfg.merge_from_list(opts), source)


def _merge(cfg: CfgNode, merge: Callable[[], None], source: str) -> None:
    try:
        merge()
    except (KeyError, AssertionError) as e:
        words = str(e.args[0]).split()
        key = words[-1] if words else ""
        raise InputError(f"{source}: {e.args[0]}{did_you_mean(key, _keys(cfg))}") from e
    except (ValueError, TypeError, yaml.YAMLError, FileNotFoundError, AttributeError, RecursionError) as e:
        raise InputError(f"{source}: {' '.join(str(e).split())}") from e


def _read(file: Path) -> dict:
    """The keys of a YAML file and of the files that it names as `_BASE_`; its own win."""
    content = yaml.safe_load(file.read_text()) or {}
    bases = content.pop(BASE_KEY, [])
    merged: dict = {}
    for base in bases if isinstance(bases, list) else [bases]:
        _override(merged, _read(find_base(base, file)))
    _override(merged, content)
    return merged


def _override(values: dict, new: dict) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _override(values[key], value)
        else:
            values[key] = value


def _keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for key, value in cfg.items():
        keys += _keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [prefix + key]
    return keys
