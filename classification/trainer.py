"""Pretraining: cfg -> a trained classifier and its checkpoint."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.engine import Trainer, check_same_run, last_checkpoint, progress
from backbones.errors import InputError
from backbones.loading import load_state
from backbones.networks import build_network
from backbones.weights import check_arch, read_weights, take_preprocessing
from classification.config import set_iterations
from classification.data import build_train_loader, build_val_loader, class_names, open_split
from classification.evaluator import ErrorEvaluator
from classification.model import Classifier

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

log = logging.getLogger("residet")


def prepare(cfg: CfgNode, *, eval_only: bool, resume: bool = False) -> None:
    """Checks arch and data, and fills what follows from the data into cfg.

    Raises:
        InputError: the arch is unknown, the data is missing, empty or its splits differ.
    """
    cfg.CLASSIFICATION.ARCH = get_spec(cfg.CLASSIFICATION.ARCH).name
    cfg.CLASSIFICATION.CLASSES = class_names(cfg.CLASSIFICATION.DATA, eval_only=eval_only)
    open_split(cfg, "val")
    if not eval_only:
        set_iterations(cfg, len(open_split(cfg, "train")))
    elif not cfg.MODEL.WEIGHTS:
        raise InputError("--eval-only: give MODEL.WEIGHTS FILE")
    source = last_checkpoint(cfg) if resume else cfg.MODEL.WEIGHTS
    if source:
        weights = read_weights(source)
        take_preprocessing(cfg, weights)
        if cfg.INPUT.FORMAT != "RGB":
            raise InputError(f"INPUT.FORMAT: pretraining reads RGB, here it is {cfg.INPUT.FORMAT}; use weights for RGB")
    if eval_only and weights.classes not in (None, tuple(cfg.CLASSIFICATION.CLASSES)):
        raise InputError(
            f"{source}: its classes {list(weights.classes)} are not those of the data {cfg.CLASSIFICATION.CLASSES}"
        )
    if resume:
        check_same_run(cfg, ClassificationTrainer.metadata(cfg))


class ClassificationTrainer(Trainer):
    """detectron2's engine on a labelled folder."""

    @classmethod
    def build_model(cls, cfg) -> Classifier:
        c = cfg.CLASSIFICATION
        network = build_network(
            get_spec(c.ARCH),
            len(c.CLASSES),
            zero_init_residual=c.ZERO_INIT_RESIDUAL,
            checkpoint_activations=c.CHECKPOINT_ACTIVATIONS,
        )
        return Classifier(network, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD).to(torch.device(cfg.MODEL.DEVICE))

    @classmethod
    def build_train_loader(cls, cfg):
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return progress(build_val_loader(cfg), desc=dataset_name, leave=False)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return ErrorEvaluator()

    @classmethod
    def metadata(cls, cfg) -> dict:
        return {
            "task": "classification",
            "arch": cfg.CLASSIFICATION.ARCH,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "channel_order": "RGB",
            "input_size": cfg.CLASSIFICATION.SIZE,
            "classes": list(cfg.CLASSIFICATION.CLASSES),
            # Lets a stock detectron2 project take this file as MODEL.WEIGHTS: names are matched by their ends.
            "matching_heuristics": True,
        }

    @classmethod
    def load_weights(cls, cfg, model: nn.Module) -> None:
        if not cfg.MODEL.WEIGHTS:
            return
        weights = read_weights(cfg.MODEL.WEIGHTS)
        if weights.task == "detection":
            raise InputError(f"{weights.path}: holds a detector, pretraining takes a classifier")
        check_arch(weights, cfg.CLASSIFICATION.ARCH)
        head = []
        last = list(model.state_dict())[-2:]  # weight and bias of the layer that makes the logits
        classes = weights.state[last[0]].shape[0] if last[0] in weights.state else 0
        names = tuple(cfg.CLASSIFICATION.CLASSES)
        if classes != len(names) or weights.classes not in (None, names):
            head = last
            log.warning("%s: knows %d classes, not the data's %d: new last layer", weights.path, classes, len(names))
        log.info("loaded %s", load_state(model, weights.state, weights.path, skip=head))


def evaluate(cfg: CfgNode) -> dict:
    """Evaluates cfg.MODEL.WEIGHTS on the val split."""
    weights = read_weights(cfg.MODEL.WEIGHTS)
    model = ClassificationTrainer.build_model(cfg)
    check_arch(weights, cfg.CLASSIFICATION.ARCH)
    load_state(model, weights.state, weights.path)
    return report(cfg, ClassificationTrainer.test(cfg, model))


def train(cfg: CfgNode, resume: bool = False) -> dict:
    """Trains, evaluates, and leaves OUTPUT_DIR/model_final.pth and results.json."""
    trainer = ClassificationTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return report(cfg, trainer._last_eval_results)


def report(cfg: CfgNode, results: dict) -> dict:
    """Prints the errors and writes them to OUTPUT_DIR/results.json."""
    if not comm.is_main_process():
        return {}
    val = results["val"]
    errors = ", ".join(f"{k.replace('_', ' ')} {v:.2f} %" for k, v in val.items() if k.endswith("error"))
    log.info("%s on %d images: %s", cfg.CLASSIFICATION.ARCH, val["images"], errors)
    Path(cfg.OUTPUT_DIR, "results.json").write_text(json.dumps(val, indent=2) + "\n")
    return val
