"""Checks before a detection run starts, and what follows from data and weights filled into the config."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.read import read_weights, take_preprocessing
from detection.auto_config import adapt
from detection.checkpoint import is_detector
from detection.data.catalog import register_datasets
from detection.data.loader import check_loader
from detection.data.mapper import build_pipeline
from detection.evaluation.coco import APIS
from detection.heads.locnet import MODES
from detection.inference.modes import check_metric, check_testing
from detection.phases import check_stages
from detection.trainer import DetectionTrainer
from residet.checkpointer import check_same_run, last_checkpoint
from residet.trainer import check_engine

from detectron2.config import CfgNode


def prepare(
    cfg: CfgNode, *, eval_only: bool, resume: bool = False, given: Collection[str] = (), batch: int = 0
) -> list[str]:
    """Checks everything that comes from outside before a run starts, and fills what follows from it into cfg.

    Args:
        given: keys that the user has set, which stay whatever the size of the data.
        batch: SOLVER.IMS_PER_BATCH that the config's schedule is for, where the user has named other data than the
            config's, to which anchors and schedule are scaled; 0 leaves them.

    Returns:
        lines on what was read and chosen, for the log.

    Raises:
        InputError: arch, data, weights or transforms cannot be used; the message says what and how to mend it.
    """
    spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    if cfg.STAGES and cfg.SOLVER.SCALE_LR_FROM_BATCH:
        raise InputError(
            "SOLVER.SCALE_LR_FROM_BATCH: stages have learning rates and batches of their own; set it in their options"
        )
    lines = check_engine(cfg)
    build_pipeline(cfg.INPUT.ALBUMENTATIONS)
    check_testing(cfg)
    if not set(cfg.TEST.EVALUATORS) <= {"coco", "voc", "errors"} or not cfg.TEST.EVALUATORS:
        raise InputError(f"TEST.EVALUATORS: {list(cfg.TEST.EVALUATORS)} must be some of 'coco', 'voc', 'errors'")
    if not (eval_only or cfg.STAGES):
        check_metric(cfg)
    if cfg.TEST.COCO_API not in APIS:
        raise InputError(f"TEST.COCO_API: {cfg.TEST.COCO_API!r} is none of {', '.join(APIS)}")
    if cfg.MODEL.ROI_LOC_HEAD.MODE not in ("", *MODES):
        raise InputError(f"MODEL.ROI_LOC_HEAD.MODE: {cfg.MODEL.ROI_LOC_HEAD.MODE!r} is none of {', '.join(MODES)}")
    if eval_only:
        if not cfg.MODEL.WEIGHTS:
            raise InputError("--eval-only: give MODEL.WEIGHTS FILE")
        cfg.DATASETS.TRAIN = cfg.DATASETS.PROPOSAL_FILES_TRAIN = ()
    elif not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN: empty; name data with --data DIR or --train DIR:SPLIT|FILE.json")
    check_loader(cfg, eval_only=eval_only)
    check_stages(cfg, given)
    source = last_checkpoint(cfg) if resume and not cfg.STAGES else cfg.MODEL.WEIGHTS
    detector = False
    if source:
        weights = read_weights(source)
        detector = is_detector(weights)
        if detector and weights.anchors:
            _take_anchors(cfg, weights.anchors, given)
        if weights.normalisation and weights.mean is None:
            raise InputError(
                f"{source}: was trained on whitened images, which a detector has not; use one with mean_std"
            )
        take_preprocessing(cfg, weights)
        if eval_only and detector and weights.classes and cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork":
            cfg.DATASETS.CLASSES = weights.classes
    lines += register_datasets(cfg)
    if batch and not eval_only:
        lines += adapt(cfg, given, batch, anchors=not detector)
    if resume and not cfg.STAGES:
        check_same_run(cfg, DetectionTrainer.metadata(cfg))
    elif not source and (cfg.MODEL.BACKBONE.FREEZE_AT or cfg.MODEL.RESNETS.NORM == "FrozenBN"):
        lines.append(
            "MODEL.WEIGHTS is empty: MODEL.BACKBONE.FREEZE_AT and FrozenBN freeze random weights; "
            "name a checkpoint, or set them to 0 and BN"
        )
    return lines


def _take_anchors(cfg: CfgNode, anchors: Mapping, given: Collection[str]) -> None:
    """Those that a detector was trained with, but for what the user has set: its RPN knows no others."""
    for key in ("sizes", "aspect_ratios"):
        name = f"MODEL.ANCHOR_GENERATOR.{key.upper()}"
        if name not in given and isinstance(anchors.get(key), list):
            cfg.MODEL.ANCHOR_GENERATOR[key.upper()] = anchors[key]
