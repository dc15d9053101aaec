"""cfg -> the plan of a pretraining run. What can be refused is refused, in order of what the refusal costs to find."""

from __future__ import annotations

import functools
from collections.abc import Collection

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.weights.read import Weights, check_arch, resolve_preprocessing, variant_warning
from classification.data.datasets import class_names, open_split
from classification.data.digest import digest_of_images
from classification.data.loaders import resolve_normalisation
from classification.schedule import resolve_schedule
from classification.schema.keys import check_keys
from classification.schema.table import TABLE
from classification.trainer import ClassificationTrainer
from residet.config import resolve_engine
from residet.plan import RunPlan, check_same_run, plan_start
from residet.summary import summarise

from detectron2.config import CfgNode


def prepare(cfg: CfgNode, *, eval_only: bool, resume: bool = False, overridden_keys: Collection[str] = ()) -> RunPlan:
    """Checks keys, then weights, then data, and fills into cfg what follows from them. Freezes cfg.

    Args:
        cfg: the config, with the user's overrides.
        eval_only: the run only evaluates MODEL.WEIGHTS.
        resume: the run goes on from the last checkpoint in OUTPUT_DIR.
        overridden_keys: keys that the user has set on the command line.

    Returns:
        the plan that `classification.trainer.train` and `evaluate` take.

    Raises:
        InputError: a key, the weights or the data cannot be used; the message says what and how to mend it.
    """
    plan = read_plan(cfg, eval_only=eval_only, resume=resume, overridden_keys=overridden_keys)
    resolve_normalisation(cfg, plan.weights)
    if resume:
        plan.lines += check_same_run(plan, ClassificationTrainer.metadata(cfg), TABLE)
    cfg.freeze()
    return plan


def read_plan(cfg: CfgNode, *, eval_only: bool, resume: bool = False, overridden_keys: Collection[str] = ()) -> RunPlan:
    """The plan that says what would run, for the run's fingerprint. Writes nothing, and fits no normalisation.

    Arguments and errors are those of `prepare`.
    """
    c = cfg.CLASSIFICATION
    check_keys(cfg, overridden_keys)
    if eval_only and not cfg.MODEL.WEIGHTS:
        raise InputError("--eval-only: give --weights FILE")
    plan = plan_start(cfg, resume, c.ARCH)
    if plan.weights:
        check_weights(cfg, plan.weights)
        if warning := variant_warning(plan.weights, c.ARCH):
            plan.lines.append(warning)

    plan.lines += resolve_engine(cfg, resume=resume)
    c.ARCH = get_spec(c.ARCH).name
    c.CLASSES = ()  # a config that a run has left names the classes of its data
    c.CLASSES = class_names(cfg, eval_only=eval_only)
    splits = {split: open_split(cfg, split) for split in (("val",) if eval_only else ("train", "val"))}
    counts = ", ".join(f"{len(images)} images to {_PURPOSES[split]}" for split, images in splits.items())
    plan.lines.append(f"data: {counts}, of {len(c.CLASSES)} classes")
    digest = functools.cache(lambda split: digest_of_images(splits[split]))
    plan.data = lambda: {split: (f"{c.DATA}:{split}", digest(split)) for split in splits}
    if plan.weights:
        if not plan.weights.normalisation:  # else the fitted one replaces MODEL.PIXEL_MEAN and PIXEL_STD
            resolve_preprocessing(cfg, plan.weights)
        # Their network has seen no other pixels.
        c.NORMALISE = plan.weights.normalisation["kind"] if plan.weights.normalisation else "mean_std"
        if eval_only:
            _resolve_classes(cfg, plan.weights)
    if not eval_only:
        resolve_schedule(cfg, len(splits["train"]))
        plan.train_data = digest("train")
    summarise(plan, f"{c.ARCH}, {c.NORM}", c.CLASSES, 0 if eval_only else len(splits["train"]))
    return plan


_PURPOSES = {"train": "train on", "val": "test on"}


def check_weights(cfg: CfgNode, weights: Weights) -> None:
    """Raises InputError if the file is of a detector, of another network, or was trained on pixels other than RGB."""
    if weights.task == "detection":
        raise InputError(f"{weights.path}: holds a detector, pretraining takes a classifier")
    check_arch(weights, cfg.CLASSIFICATION.ARCH)
    if weights.channel_order not in (None, "RGB"):
        raise InputError(
            f"INPUT.FORMAT: pretraining reads RGB, {weights.path} was trained on {weights.channel_order}; use weights "
            "for RGB"
        )


def _resolve_classes(cfg: CfgNode, weights: Weights) -> None:
    """Takes the checkpoint's classes for CLASSES. The data may have a part of them."""
    of_data = tuple(cfg.CLASSIFICATION.CLASSES)
    if weights.classes in (None, of_data):
        return
    unknown = sorted(set(of_data) - set(weights.classes))
    if unknown:
        raise InputError(
            f"{weights.path}: knows {len(weights.classes)} classes, not these {len(unknown)} of the data's "
            f"{len(of_data)}: {', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}"
        )
    if cfg.CLASSIFICATION.DATASET != "folder":
        raise InputError(f"{weights.path}: its classes are in another order than those of {cfg.CLASSIFICATION.DATASET}")
    cfg.CLASSIFICATION.CLASSES = weights.classes
