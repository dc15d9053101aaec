"""Keys of pretraining that do not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backbones.catalogue import get_spec
from backbones.errors import InputError
from classification.schedule import PLATEAU

from detectron2.config import CfgNode


def check_combinations(cfg: CfgNode) -> None:
    """Raises InputError with the first contradiction between two keys, each of which has an allowed value."""
    for message in (*_of_network(cfg), *_of_sizes(cfg), *_of_schedule(cfg), *_of_metric(cfg)):
        raise InputError(message)


def _of_network(cfg: CfgNode) -> Iterator[str]:
    c = cfg.CLASSIFICATION
    if c.NORM == "SyncBN" and cfg.MODEL.DEVICE == "cpu":
        yield "CLASSIFICATION.NORM: SyncBN needs GPUs; on CPUs take naiveSyncBN"
    if c.NORM == "naiveSyncBN" and cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "bfloat16":
        yield "CLASSIFICATION.NORM: naiveSyncBN loses its variance in bfloat16; take float16 or SyncBN"
    if c.COMPILE and c.CHECKPOINT_ACTIVATIONS:
        yield "CLASSIFICATION.COMPILE: does not go with CHECKPOINT_ACTIVATIONS; choose one"
    if c.TEST.VIEWS == "dense" and not get_spec(c.ARCH).fully_convolutional:
        yield f"CLASSIFICATION.TEST.VIEWS: {c.ARCH} has no fully convolutional form here; use crop"


def _of_sizes(cfg: CfgNode) -> Iterator[str]:
    c = cfg.CLASSIFICATION
    if c.NORMALISE == "zca" and (c.COLOUR != "none" or c.TRIVIAL_AUGMENT or c.SIZE != c.RESIZE):
        yield (
            "CLASSIFICATION.NORMALISE: zca whitens the whole image: set COLOUR none, TRIVIAL_AUGMENT False, and SIZE "
            "to the value of RESIZE"
        )
    test = c.TEST.SIZE or c.SIZE
    if c.TEST.VIEWS != "dense" and test > c.RESIZE:
        yield f"CLASSIFICATION.RESIZE: {c.RESIZE} is less than the {test} of the test crop; raise RESIZE"
    if c.CROP in ("pad", "reflect") and c.SIZE > c.RESIZE + 2 * c.PAD:
        yield (
            f"CLASSIFICATION.SIZE: {c.SIZE} is more than RESIZE {c.RESIZE} with PAD {c.PAD} on both sides; lower SIZE "
            "or raise PAD"
        )
    if c.CROP == "reflect" and c.PAD >= c.RESIZE:
        yield f"CLASSIFICATION.PAD: {c.PAD} is more than an image of RESIZE {c.RESIZE} can be reflected by; lower PAD"
    if c.CROP == "short_side" and c.SHORT_SIDE[0] < c.SIZE:
        yield f"CLASSIFICATION.SHORT_SIDE: {c.SHORT_SIDE[0]} is less than SIZE {c.SIZE} of the crop; raise SHORT_SIDE"


def _of_metric(cfg: CfgNode) -> Iterator[str]:
    """A wrong TEST.BEST_METRIC, which would be noticed only after the first evaluation."""
    metric = cfg.TEST.BEST_METRIC
    groups = ("val", "val_ema") if cfg.SOLVER.EMA.DECAY else ("val",)
    if metric and not re.fullmatch(rf"({'|'.join(groups)})/top[15]_error(_\d+way)?", metric):
        names = ", ".join(f"{group}/top{k}_error" for group in groups for k in (1, 5))
        yield f"TEST.BEST_METRIC: {metric} is none of {names}; the averages of SOLVER.EMA are val_ema/…"


def _of_schedule(cfg: CfgNode) -> Iterator[str]:
    c, solver = cfg.CLASSIFICATION, cfg.SOLVER
    plateau = solver.LR_SCHEDULER_NAME == PLATEAU
    if plateau and (c.WARMUP_UNTIL_ERROR or c.WARMUP_EPOCHS or solver.WARMUP_ITERS):
        yield f"SOLVER.LR_SCHEDULER_NAME: {PLATEAU} has no warm-up; set SOLVER.WARMUP_ITERS 0 and WARMUP_EPOCHS 0"
    if c.EPOCHS and c.WARMUP_EPOCHS >= c.EPOCHS:
        yield (
            f"CLASSIFICATION.WARMUP_EPOCHS: a warm-up of {c.WARMUP_EPOCHS:g} takes the whole training, whose length is "
            f"EPOCHS {c.EPOCHS}, and the learning rate never reaches BASE_LR; set WARMUP_EPOCHS {c.EPOCHS / 4:g}"
        )
    if plateau and solver.GAMMA == 1:
        yield f"SOLVER.GAMMA: 1.0 leaves the learning rate as it is; {PLATEAU} needs a factor below 1"
    if not c.EVAL_EPOCHS and not cfg.TEST.EVAL_PERIOD:
        for key, wanted in (("SOLVER.LR_SCHEDULER_NAME", plateau), ("TEST.PATIENCE", cfg.TEST.PATIENCE)):
            if wanted:
                yield f"{key}: goes by evaluations, and there is only the one at the end; set EVAL_EPOCHS"
