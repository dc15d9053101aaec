"""cfg -> the plan of a detection run. What can be refused is refused, in order of what the refusal costs to find."""

from __future__ import annotations

from collections.abc import Collection

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.read import Weights, check_arch, resolve_preprocessing, variant_warning
from detection.auto_config import resolve_schedule_and_anchors
from detection.data.catalog import resolve_datasets
from detection.data.loader import check_loader
from detection.data.mapper import build_pipeline
from detection.evaluation.coco import APIS
from detection.heads.locnet import MODES
from detection.heads.multipath import SAMPLINGS
from detection.inference.modes import check_metric, check_testing
from detection.keys import check_keys
from detection.network import in_words
from detection.phases import check_phases
from detection.trainer import DetectionTrainer
from residet.config import check_engine, resolve_engine
from residet.plan import RunPlan, check_same_run, plan_start
from residet.summary import summarise

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

EVALUATORS = ("coco", "voc", "errors")


def prepare(
    cfg: CfgNode,
    *,
    eval_only: bool,
    resume: bool = False,
    overridden_keys: Collection[str] = (),
    schedule_batch_size: int = 0,
) -> RunPlan:
    """Checks keys, then weights, then data, and fills into cfg what follows from them. Freezes cfg.

    Args:
        cfg: the config, with the user's overrides.
        eval_only: the run only evaluates MODEL.WEIGHTS.
        resume: the run goes on from the last checkpoint in OUTPUT_DIR.
        overridden_keys: keys that the user has set. They stay as they are, whatever the size of the data.
        schedule_batch_size: SOLVER.IMS_PER_BATCH that the config's schedule is meant for, where the user has named
            other data than the config's: anchors and schedule are scaled to the data. 0 leaves them.

    Returns:
        the plan that `detection.trainer.train`, `evaluate` and `detection.phases.train_phases` take.

    Raises:
        InputError: a key, the weights or the data cannot be used; the message says what and how to mend it.
    """
    resume = resume and not cfg.PHASES  # each phase finds its own checkpoint
    arch = spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
    check_keys(cfg, overridden_keys)
    check_engine(cfg)
    check_testing(cfg)
    check_options(cfg, eval_only=eval_only)
    check_loader(cfg, eval_only=eval_only)
    check_phases(cfg, overridden_keys)
    plan = plan_start(cfg, resume, arch)
    weights = plan.weights
    if weights:
        check_weights(cfg, weights)
        if warning := variant_warning(weights, arch):
            plan.lines.append(warning)

    plan.lines += resolve_engine(cfg)
    if eval_only:
        cfg.DATASETS.TRAIN = cfg.DATASETS.PROPOSAL_FILES_TRAIN = ()
    if weights:
        resolve_preprocessing(cfg, weights)
        _resolve_detector(cfg, weights, eval_only, overridden_keys)
    plan.lines += resolve_datasets(cfg)
    if schedule_batch_size and not eval_only:
        anchors = not (weights and weights.is_detector)
        plan.lines += resolve_schedule_and_anchors(cfg, overridden_keys, schedule_batch_size, anchors=anchors)
    if resume:
        check_same_run(plan, DetectionTrainer.metadata(cfg))
    elif not weights and (cfg.MODEL.BACKBONE.FREEZE_AT or cfg.MODEL.RESNETS.NORM == "FrozenBN"):
        plan.lines.append(
            "MODEL.WEIGHTS is empty: MODEL.BACKBONE.FREEZE_AT and FrozenBN freeze random weights; "
            "name a checkpoint, or set them to 0 and BN"
        )
    images = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.TRAIN)
    summarise(plan, in_words(cfg), cfg.DATASETS.CLASSES, images, [phase["name"] for phase in cfg.PHASES])
    cfg.freeze()
    return plan


def check_options(cfg: CfgNode, *, eval_only: bool) -> None:
    """Raises InputError where a key has a value that does not exist, or a key that is needed is empty."""
    build_pipeline(cfg.INPUT.ALBUMENTATIONS)
    if cfg.PHASES and cfg.SOLVER.SCALE_LR_FROM_BATCH:
        raise InputError(
            "SOLVER.SCALE_LR_FROM_BATCH: phases have learning rates and batches of their own; set it in their options"
        )
    if not set(cfg.TEST.EVALUATORS) <= set(EVALUATORS) or not cfg.TEST.EVALUATORS:
        names = ", ".join(map(repr, EVALUATORS))
        raise InputError(f"TEST.EVALUATORS: {list(cfg.TEST.EVALUATORS)} must be some of {names}")
    if cfg.TEST.COCO_API not in APIS:
        raise InputError(f"TEST.COCO_API: {cfg.TEST.COCO_API!r} is none of {', '.join(APIS)}")
    if cfg.MODEL.ROI_LOC_HEAD.MODE not in ("", *MODES):
        raise InputError(f"MODEL.ROI_LOC_HEAD.MODE: {cfg.MODEL.ROI_LOC_HEAD.MODE!r} is none of {', '.join(MODES)}")
    if cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING not in SAMPLINGS:
        raise InputError(
            f"MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING: {cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING!r} is none of "
            f"{', '.join(SAMPLINGS)}"
        )
    if eval_only and not cfg.MODEL.WEIGHTS:
        raise InputError("--eval-only: give --weights FILE")
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN: empty; name data with --data DIR or --train DIR:SPLIT|FILE.json")
    if not eval_only and not cfg.PHASES:
        check_metric(cfg)


def check_weights(cfg: CfgNode, weights: Weights) -> None:
    """Raises InputError if the file is of another network, or its network was trained on whitened images."""
    check_arch(weights, spec_of_builder(cfg.MODEL.BACKBONE.NAME).name)
    if weights.normalisation and weights.mean is None:
        raise InputError(
            f"{weights.path}: was trained on whitened images, which a detector has not; use one with mean_std"
        )


def _resolve_detector(cfg: CfgNode, weights: Weights, eval_only: bool, overridden_keys: Collection[str]) -> None:
    """Takes a detector's anchors, since its RPN knows no others, and in an evaluation its classes."""
    if not weights.is_detector:
        return
    for key in ("sizes", "aspect_ratios"):
        name, values = f"MODEL.ANCHOR_GENERATOR.{key.upper()}", (weights.anchors or {}).get(key)
        if name not in overridden_keys and isinstance(values, list):
            cfg.MODEL.ANCHOR_GENERATOR[key.upper()] = values
    if eval_only and weights.classes and cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork":
        cfg.DATASETS.CLASSES = weights.classes
