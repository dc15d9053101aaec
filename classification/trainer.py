"""Pretraining: cfg -> a trained classifier and its checkpoint."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.dense import Dense
from backbones.weights.load import load_state
from backbones.whole_files import write_json
from classification.card import write_classifier_card
from classification.curve import draw_curve
from classification.data.datasets import open_split
from classification.data.images import LabelledImages
from classification.data.loaders import build_train_loader, build_val_loader, read_normalisation
from classification.data.normalise import PixelMean
from classification.data.transforms import INTERPOLATIONS
from classification.evaluator import TopKErrorEvaluator
from classification.model import Classifier
from classification.papers.published import compare
from classification.schedule import PLATEAU, PlateauSteps, WarmUpUntilError
from classification.views import Crops
from residet.engine.expected import check_expected_results
from residet.engine.hooks import PreciseStatistics
from residet.engine.trainer import Trainer
from residet.plan import RunPlan
from residet.progress import progress

import torch
from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.layers import NaiveSyncBatchNorm, get_norm
from detectron2.utils import comm
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.transforms import v2

log = logging.getLogger("residet")

# Values of CLASSIFICATION.NORM.
NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm, "naiveSyncBN": NaiveSyncBatchNorm}
NORMS["GN"] = functools.partial(get_norm, "GN")


class ClassificationTrainer(Trainer):
    """detectron2's engine on labelled images."""

    @classmethod
    def build_model(cls, cfg) -> Classifier:
        c = cfg.CLASSIFICATION
        network = get_spec(c.ARCH).build(  # None: the network's own default, which a network without the option has too
            len(c.CLASSES),
            norm=None if c.NORM == "BN" else NORMS[c.NORM],
            residual_scale=None if c.RESIDUAL_SCALE == 1 else c.RESIDUAL_SCALE,
            checkpoint_activations=c.CHECKPOINT_ACTIVATIONS,
        )
        if c.COMPILE:
            network.compile()
        fitted = c.NORMALISE != "mean_std"
        views = {
            "crop": lambda: None,
            "10crop": Crops,
            "dense": lambda: Dense(c.TEST.SCALES, c.SIZE, INTERPOLATIONS[c.INTERPOLATION]),
        }[c.TEST.VIEWS]()
        model = Classifier(
            network,
            [0.0] * 3 if fitted else cfg.MODEL.PIXEL_MEAN,
            [1.0] * 3 if fitted else cfg.MODEL.PIXEL_STD,
            label_smoothing=c.LABEL_SMOOTHING,
            mix=_build_mix(cfg),
            views=views,
            channels_last=c.CHANNELS_LAST,
        )
        return model.to(torch.device(cfg.MODEL.DEVICE))

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        if cfg.SOLVER.LR_SCHEDULER_NAME != PLATEAU:
            return super().build_lr_scheduler(cfg, optimizer)
        return ReduceLROnPlateau(
            optimizer, factor=cfg.SOLVER.GAMMA, patience=cfg.CLASSIFICATION.PLATEAU_PATIENCE - 1, threshold=0
        )

    def learning_hooks(self) -> list:
        cfg, c = self.cfg, self.cfg.CLASSIFICATION
        own = []
        if cfg.SOLVER.LR_SCHEDULER_NAME != PLATEAU:
            own.append(hooks.LRScheduler())
        if c.WARMUP_UNTIL_ERROR:
            own.append(WarmUpUntilError(self.optimizer, c.WARMUP_UNTIL_ERROR, cfg.SOLVER.WARMUP_FACTOR))
        if cfg.TEST.PRECISE_BN.ENABLED:
            model = self.checkpointer.model

            def inputs():
                return (model.normalise(batch["image"]) for batch in self.build_train_loader(cfg))

            own.append(PreciseStatistics(model.network, inputs, cfg.TEST.PRECISE_BN.NUM_ITER))
        return own

    def evaluation_hooks(self) -> list:
        return [PlateauSteps(self.scheduler, "val/top1_error")] if self.cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU else []

    @classmethod
    def build_train_loader(cls, cfg, start_iter: int = 0):
        return build_train_loader(cfg, start_iter)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return progress(build_val_loader(cfg, read_normalisation(cfg)), desc=dataset_name, leave=False)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        images = open_split(cfg, "val")
        present = set(images.labels()) if isinstance(images, LabelledImages) else set()
        return TopKErrorEvaluator(present if 0 < len(present) < len(cfg.CLASSIFICATION.CLASSES) else None)

    @classmethod
    def metadata(cls, cfg) -> dict:
        fitted = read_normalisation(cfg)
        pixels = {"mean": list(cfg.MODEL.PIXEL_MEAN), "std": list(cfg.MODEL.PIXEL_STD)}
        if fitted:
            # What other users of the network can do best: the mean image's mean. Of whitening there is no such thing.
            nearest = {"mean": fitted.mean.mean((1, 2)).tolist(), "std": [1.0] * 3}
            pixels = {"normalisation": fitted.state()} | (nearest if isinstance(fitted, PixelMean) else {})
        return {
            "task": "classification",
            "arch": cfg.CLASSIFICATION.ARCH,
            "initial_weights": cfg.MODEL.WEIGHTS,
            "norm": cfg.CLASSIFICATION.NORM,
            **pixels,
            "channel_order": "RGB",
            "input_size": cfg.CLASSIFICATION.SIZE,
            "classes": list(cfg.CLASSIFICATION.CLASSES),
            # Lets a stock detectron2 project take this file as MODEL.WEIGHTS: names are matched by their ends.
            "matching_heuristics": True,
        }

    def load_weights(self, plan: RunPlan) -> None:
        weights = plan.weights
        if weights is None:
            return
        model, names = self.checkpointer.model, tuple(self.cfg.CLASSIFICATION.CLASSES)
        last = get_spec(self.cfg.CLASSIFICATION.ARCH).last_layer
        layer = [f"{last}.weight", f"{last}.bias"]
        outputs = len(weights.state[layer[1]]) if layer[1] in weights.state else 0
        same = outputs == len(names) and weights.classes in (None, names)
        if not same:
            log.warning("%s: knows %d classes, not the data's %d: new last layer", weights.path, outputs, len(names))
        log.info("loaded %s", load_state(model, weights.state, weights.path, skip=() if same else layer))


def _build_mix(cfg: CfgNode):
    c = cfg.CLASSIFICATION
    kinds = [
        kind(alpha=alpha, num_classes=len(c.CLASSES))
        for kind, alpha in ((v2.MixUp, c.MIXUP), (v2.CutMix, c.CUTMIX))
        if alpha
    ]
    return v2.RandomChoice(kinds) if kinds else None


def evaluate(plan: RunPlan) -> dict:
    """Evaluates the weights of the plan on the val split; see `report`."""
    cfg, weights = plan.cfg, plan.weights
    model = ClassificationTrainer.build_model(cfg)
    load_state(model, weights.state, weights.path)
    plan.release()
    return report(cfg, ClassificationTrainer.test(cfg, model))


def train(plan: RunPlan) -> dict | None:
    """Trains, evaluates, and leaves OUTPUT_DIR/model_final.pth, results.json, curve.png and model_card.md.

    Returns:
        the errors, see `report`; None where SIGTERM stopped the run.
    """
    cfg = plan.cfg
    trainer = ClassificationTrainer(plan)
    if not trainer.train():
        return None
    results = report(cfg, trainer.evaluation.results)
    if comm.is_main_process():
        per_epoch = len(open_split(cfg, "train")) / cfg.SOLVER.IMS_PER_BATCH
        output = Path(cfg.OUTPUT_DIR)
        draw_curve(output / "metrics.json", output / "curve.png", cfg.CLASSIFICATION.ARCH, per_epoch)
        log.info("training curve: %s", output / "curve.png")
        write_classifier_card(cfg, trainer.checkpointer.model.network, results)
    return results


def report(cfg: CfgNode, results: dict) -> dict:
    """Logs the errors beside the paper's and writes them to OUTPUT_DIR/results.json.

    Returns:
        {"images": number, "top1_error": in %, "top5_error": …} in the main process, {} in others.
    """
    if not comm.is_main_process():
        return {}
    for name, values in results.items():
        errors = ", ".join(f"{k.replace('_', ' ')} {v:.2f} %" for k, v in values.items() if "error" in k)
        averaged = " (averaged weights)" if name.endswith("_ema") else ""
        log.info("%s%s on %d images: %s", cfg.CLASSIFICATION.ARCH, averaged, values["images"], errors)
    for line in compare(cfg, results["val"]):
        log.info("%s", line)
    content = results["val"] | ({"ema": results["val_ema"]} if "val_ema" in results else {})
    write_json(content, Path(cfg.OUTPUT_DIR, "results.json"))
    check_expected_results(cfg, results)
    return results["val"]
