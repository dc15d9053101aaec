"""Config of the engine: its keys, what they may hold, and YAML files and KEY VALUE pairs merged into a config."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from pathlib import Path

from backbones.errors import InputError, did_you_mean, shown
from residet.cli.configs import find_config
from residet.schema.files import read_yaml
from residet.schema.kinds import leaves

import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm


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
    """Raises InputError if keys of the engine contradict each other."""
    solver, processes = cfg.SOLVER, comm.get_world_size()
    if solver.IMS_PER_BATCH % (processes * solver.ACCUMULATE):
        raise InputError(
            f"SOLVER.IMS_PER_BATCH: {solver.IMS_PER_BATCH} is no multiple of {processes} processes x "
            f"{solver.ACCUMULATE} micro-batches (SOLVER.ACCUMULATE)"
        )
    if cfg.TEST.PATIENCE and not cfg.TEST.BEST_METRIC:
        raise InputError("TEST.PATIENCE: name the metric that should improve, TEST.BEST_METRIC")
    if solver.NESTEROV and not solver.MOMENTUM:
        raise InputError("SOLVER.NESTEROV: True needs a SOLVER.MOMENTUM above 0")
    if solver.LR_SCHEDULER_NAME != "WarmupCosineLR" and solver.BASE_LR_END:
        raise InputError(
            f"SOLVER.BASE_LR_END: {solver.LR_SCHEDULER_NAME} does not read it; use SOLVER.LR_SCHEDULER_NAME "
            "WarmupCosineLR"
        )
    if solver.BASE_LR_END > solver.BASE_LR:
        raise InputError(f"SOLVER.BASE_LR_END: {solver.BASE_LR_END} is more than SOLVER.BASE_LR, {solver.BASE_LR}")


def resolve_engine(cfg: CfgNode, *, resume: bool = False) -> list[str]:
    """Fills in what other keys ask for.

    Draws SEED where it is negative, or takes that of the run that goes on. Scales the learning rate where
    SOLVER.SCALE_LR_FROM_BATCH asks for it.

    Returns:
        lines for the log on what was changed.
    """
    lines = []
    drawn = Path(cfg.OUTPUT_DIR, "config.yaml")
    if cfg.SEED < 0 and resume and drawn.is_file():
        cfg.SEED = int(read_yaml(drawn).get("SEED", cfg.SEED))
    if cfg.SEED < 0:
        cfg.SEED = comm.shared_random_seed() % 2**31
        lines.append(f"SEED {cfg.SEED}, drawn")
    solver, reference = cfg.SOLVER, cfg.SOLVER.SCALE_LR_FROM_BATCH
    if reference:
        before, batch = solver.BASE_LR, solver.IMS_PER_BATCH
        solver.BASE_LR = before * batch / reference
        solver.SCALE_LR_FROM_BATCH = 0  # done: --resume reads the config that this run leaves, and must not scale again
        lines.append(f"learning rate {before:g} scaled to {solver.BASE_LR:g}: a batch of {batch}, not {reference}")
    return lines


def merge_config(cfg: CfgNode, config_file: str, opts: list[str]) -> None:
    """Merges a YAML file and KEY VALUE overrides into cfg.

    Args:
        cfg: the config; changed.
        config_file: the file, or the name of a config of residet; "" for none.
        opts: KEY, VALUE, …, which win over the file.

    Raises:
        InputError: the file does not exist or is not YAML; a key is unknown (the nearest is suggested) or of another
            type.
    """
    if config_file:
        file = find_config(config_file)
        merge_values(cfg, read_yaml(file), str(file))
    merge_options(cfg, opts, "command line")


def merge_options(cfg: CfgNode, opts: list, source: str) -> None:
    """Merges KEY, VALUE, … into cfg.

    Args:
        cfg: the config; changed.
        opts: KEY, VALUE, …
        source: where the pairs come from, for messages.

    Raises:
        InputError: as `merge_config`.
    """
    if not isinstance(opts, list | tuple) or len(opts) % 2:
        raise InputError(f"{source}: overrides are KEY VALUE pairs, {shown(opts[-1:])} has no partner")
    for name, value in zip(opts[::2], opts[1::2], strict=True):
        *groups, last = str(name).split(".")
        values: dict = {last: value}
        for group in reversed(groups):
            values = {group: values}
        merge_values(cfg, values, source)


def merge_values(cfg: CfgNode, values: Mapping, source: str, prefix: str = "") -> None:
    """Merges nested keys into cfg.

    A text is read as a Python value where it is one, "(0.5, 1)" as a tuple. A whole number may stand for a real one.

    Args:
        cfg: the config, or the group of its keys that `prefix` names.
        values: keys and values, groups of keys as nested dicts.
        source: where the values come from, for messages.
        prefix: what stands before the names of these keys, such as "SOLVER.".

    Raises:
        InputError: a key is unknown, or its value is of another type than its default.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in cfg:
            hint = did_you_mean(name, [prefix + known for known in leaves(cfg)])
            hint = hint or "; docs/config.md has the keys of pretraining and of detection"
            raise InputError(f"{source}: Non-existent config key: {shown(name)[1:-1]}{hint}")
        before = cfg[key]
        if isinstance(before, CfgNode):
            if not isinstance(value, Mapping):
                raise InputError(f"{source}: {name}: {shown(value)} is a value, but {name} is a group of keys")
            merge_values(before, value, source, f"{name}.")
        else:
            cfg[key] = _as_type_of(before, value, f"{source}: {name}")


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value  # a text that is no Python value: a path, a name


def _decoded_list(text: str, value: object) -> object:
    """`value`, or, of a text such as "[res3, res4]", the list that it is in YAML."""
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        return value if isinstance(value, list | tuple) else yaml.safe_load(text)
    return value


def _as_type_of(before: object, value: object, where: str) -> object:
    """`value` as the type of the value before it. Raises InputError, which begins with `where`, if it is of another."""
    text, value = value, _decoded(value)
    if isinstance(before, str) and isinstance(text, str):
        return value if isinstance(value, str) else text
    if isinstance(before, list | tuple) and isinstance(text, str):
        value = _decoded_list(text, value)
    if isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    if isinstance(before, list | tuple) and isinstance(value, list | tuple):
        return type(before)(value)
    if before is not None and type(value) is not type(before):
        raise InputError(f"{where}: {shown(value)} is not {_TYPES[type(before)]}, such as {shown(before)}")
    return value


_TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list", tuple: "a list"}
