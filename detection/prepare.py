"""cfg -> the plan of a detection run. What can be refused is refused, in order of what the refusal costs to find."""

from __future__ import annotations

from collections.abc import Collection

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.read import Weights, check_arch, resolve_preprocessing, variant_warning
from detection.auto_config import resolve_micro_batches, resolve_schedule_and_anchors
from detection.data.catalog import resolve_datasets
from detection.data.digest import digest_of_data
from detection.network import in_words
from detection.phases import check_phases
from detection.schema.contradictions import check_norms_on_device
from detection.schema.keys import check_keys
from detection.schema.table import TABLE
from detection.trainer import DetectionTrainer
from residet.collector import collector_paused
from residet.config import resolve_engine
from residet.plan import RunPlan, check_same_run, plan_start
from residet.summary import summarise

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog


@collector_paused()
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
    check_keys(cfg, overridden_keys, eval_only=eval_only)
    check_phases(cfg, overridden_keys)
    if eval_only and not cfg.MODEL.WEIGHTS:
        raise InputError("--eval-only: give --weights FILE")
    if not eval_only:
        check_norms_on_device(cfg)
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN: empty; name data with --data DIR or --train DIR:SPLIT|FILE.json")
    arch = spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
    plan = plan_start(cfg, resume, arch)
    weights = plan.weights
    if weights:
        check_weights(cfg, weights)
        if warning := variant_warning(weights, arch):
            plan.lines.append(warning)

    plan.lines += resolve_engine(cfg, resume=resume)
    if eval_only:
        cfg.DATASETS.TRAIN = cfg.DATASETS.PROPOSAL_FILES_TRAIN = ()
    if weights:
        resolve_preprocessing(cfg, weights, overridden_keys)
        _resolve_detector(cfg, weights, eval_only, overridden_keys)
    plan.lines += resolve_datasets(cfg)
    plan.train_data = digest_of_data(cfg.DATASETS.TRAIN)
    plan.data = lambda: {
        "DATASETS.TRAIN": (", ".join(cfg.DATASETS.TRAIN), plan.train_data),
        "DATASETS.TEST": (", ".join(cfg.DATASETS.TEST), digest_of_data(cfg.DATASETS.TEST)),
    }
    if schedule_batch_size and not eval_only:
        anchors = not (weights and weights.is_detector)
        plan.lines += resolve_schedule_and_anchors(cfg, overridden_keys, schedule_batch_size, anchors=anchors)
    if not eval_only:
        plan.lines += resolve_micro_batches(cfg, overridden_keys)
    if resume:
        plan.lines += check_same_run(plan, DetectionTrainer.metadata(cfg), TABLE)
    images = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.TRAIN)
    summarise(plan, in_words(cfg), cfg.DATASETS.CLASSES, images, [phase["name"] for phase in cfg.PHASES])
    cfg.freeze()
    return plan


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
