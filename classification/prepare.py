"""What is checked before a run starts, and what follows from the data and the checkpoint."""

from __future__ import annotations

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.spec import ArchSpec
from backbones.weights.read import Weights, read_weights, take_preprocessing
from classification.data.datasets import open_split
from classification.data.loaders import class_names, prepare_normalisation
from classification.data.transforms import check_transforms
from classification.schedule import PLATEAU, set_iterations
from classification.trainer import NORMS, ClassificationTrainer
from residet.checkpointer import check_same_run, last_checkpoint
from residet.trainer import check_engine

from detectron2.config import CfgNode


def prepare(cfg: CfgNode, *, eval_only: bool, resume: bool = False) -> list[str]:
    """Checks what comes from outside before a run starts, and fills what follows from it into cfg.

    Returns:
        lines on what was changed, for the log.

    Raises:
        InputError: arch, data, weights or a key cannot be used; the message says what and how to mend it.
    """
    c = cfg.CLASSIFICATION
    c.ARCH = get_spec(c.ARCH).name
    lines = check_engine(cfg)
    check_transforms(cfg)
    _check_options(cfg)
    if eval_only and not cfg.MODEL.WEIGHTS:
        raise InputError("--eval-only: give MODEL.WEIGHTS FILE")
    source = last_checkpoint(cfg) if resume else cfg.MODEL.WEIGHTS
    weights = read_weights(source) if source else None
    c.CLASSES = ()  # a config that a run has left names those of its data
    c.CLASSES = class_names(cfg, eval_only=eval_only)
    if weights:
        take_preprocessing(cfg, weights)
        if cfg.INPUT.FORMAT != "RGB":
            raise InputError(f"INPUT.FORMAT: pretraining reads RGB, here it is {cfg.INPUT.FORMAT}; use weights for RGB")
        if eval_only:
            _take_classes(cfg, weights)
    if not eval_only:
        set_iterations(cfg, len(open_split(cfg, "train")))
    prepare_normalisation(cfg, weights)
    if resume:
        check_same_run(cfg, ClassificationTrainer.metadata(cfg))
    return lines


def _check_options(cfg: CfgNode) -> None:
    """Raises InputError where options do not go together."""
    c = cfg.CLASSIFICATION
    if c.NORM not in NORMS:
        raise InputError(f"CLASSIFICATION.NORM: {c.NORM!r} is none of {', '.join(NORMS)}")
    if c.NORM == "SyncBN" and cfg.MODEL.DEVICE == "cpu":
        raise InputError("CLASSIFICATION.NORM: SyncBN needs GPUs; on CPUs take naiveSyncBN")
    if c.NORM == "naiveSyncBN" and cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "bfloat16":
        raise InputError("CLASSIFICATION.NORM: naiveSyncBN loses its variance in bfloat16; take float16 or SyncBN")
    if c.COMPILE and c.CHECKPOINT_ACTIVATIONS:
        raise InputError("CLASSIFICATION.COMPILE: does not go with CHECKPOINT_ACTIVATIONS; choose one")
    if cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU and (
        c.WARMUP_UNTIL_ERROR or c.WARMUP_EPOCHS or cfg.SOLVER.WARMUP_ITERS or c.PLATEAU_PATIENCE < 1
    ):
        raise InputError(f"SOLVER.LR_SCHEDULER_NAME: {PLATEAU} has no warm-up, and a PLATEAU_PATIENCE of 1 or more")
    if c.TEST.VIEWS == "dense" and not isinstance(get_spec(c.ARCH), ArchSpec):
        raise InputError(f"CLASSIFICATION.TEST.VIEWS: {c.ARCH} has no fully convolutional form here; use crop")


def _take_classes(cfg: CfgNode, weights: Weights) -> None:
    """Labels by the checkpoint's classes; the data may have a part of them."""
    found = tuple(cfg.CLASSIFICATION.CLASSES)
    if weights.classes in (None, found):
        return
    unknown = sorted(set(found) - set(weights.classes))
    if unknown:
        raise InputError(
            f"{weights.path}: knows {len(weights.classes)} classes, not these {len(unknown)} of the data's "
            f"{len(found)}: {', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}"
        )
    if cfg.CLASSIFICATION.DATASET != "folder":
        raise InputError(f"{weights.path}: its classes are in another order than those of {cfg.CLASSIFICATION.DATASET}")
    cfg.CLASSIFICATION.CLASSES = weights.classes
