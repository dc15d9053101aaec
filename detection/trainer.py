"""Detection: the plan of a run -> a trained detector, its AP and pictures."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path

from backbones.registry import spec_of_builder
from backbones.whole_files import write_json
from detection.build import build_model, model_config
from detection.card import write_detector_card
from detection.checkpoint import load_detector, pretrained_layers
from detection.data.catalog import slug
from detection.data.loader import build_test_loader, build_train_loader
from detection.evaluation.analysis import ErrorAnalysis
from detection.evaluation.boxes import BoxEvaluators
from detection.evaluation.coco import BoxCOCOEvaluator, ProposalEvaluator
from detection.evaluation.imagenet_det import ImageNetDETEvaluator
from detection.evaluation.pictures import SamplePictures, draw_pictures
from detection.evaluation.report import remarks, reports_eleven_points, summary, table
from detection.evaluation.voc import VOCEvaluator
from detection.evaluation.voc_submission import VOCResultFiles
from detection.inference.modes import as_tested, validation_losses
from detection.inference.speed import speed, timed
from residet.engine.expected import check_expected_results
from residet.engine.hooks import PreciseStatistics
from residet.engine.rates import TwoRates, scale_rate
from residet.engine.trainer import Trainer
from residet.plan import RunPlan
from residet.progress import progress

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

log = logging.getLogger("residet")


class DetectionTrainer(Trainer):
    """detectron2's engine on registered data."""

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model):
        optimizer, factor = super().build_optimizer(cfg, model), cfg.SOLVER.BACKBONE_LR_FACTOR
        if factor != 1:
            names = set(pretrained_layers(spec_of_builder(cfg.MODEL.BACKBONE.NAME), model))
            pretrained = [p for name, p in model.named_parameters() if name in names]
            scale_rate(optimizer, pretrained, factor)
        return optimizer

    @classmethod
    def build_train_loader(cls, cfg, start_iter: int = 0):
        return build_train_loader(cfg, start_iter)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return progress(build_test_loader(cfg, dataset_name), desc=f"test {dataset_name}", unit="img", leave=False)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        folder = Path(cfg.OUTPUT_DIR, "inference", slug(dataset_name))
        if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
            return ProposalEvaluator(dataset_name)
        coco = BoxCOCOEvaluator(dataset_name, folder, cfg.TEST.COCO_API)
        if not MetadataCatalog.get(dataset_name).annotated:
            return BoxEvaluators(dataset_name, [coco, VOCResultFiles(dataset_name, folder)])
        evaluators = {
            "coco": lambda: coco,
            "voc": lambda: VOCEvaluator(dataset_name),
            "imagenet_det": lambda: ImageNetDETEvaluator(dataset_name),
            "errors": lambda: ErrorAnalysis(dataset_name, folder),
        }
        return BoxEvaluators(dataset_name, [evaluators[name]() for name in cfg.TEST.EVALUATORS])

    @classmethod
    def test(cls, cfg, model):
        tested = as_tested(cfg, model)
        with timed(tested) as seconds:
            results = super().test(cfg, tested)
        if comm.is_main_process():
            write_json(speed(seconds), Path(cfg.OUTPUT_DIR, "inference", "speed.json"))
        if cfg.TEST.LOSS:
            for name in (n for n in cfg.DATASETS.TEST if MetadataCatalog.get(n).annotated):
                losses = {"validation": validation_losses(cfg, model, name)}
                (results if len(cfg.DATASETS.TEST) == 1 else results[name]).update(losses)
        return results

    def learning_hooks(self) -> list:
        cfg = self.cfg
        own = super().learning_hooks() if cfg.SOLVER.BACKBONE_LR_FACTOR == 1 else [TwoRates()]
        if cfg.TEST.PRECISE_BN.ENABLED:
            batches = functools.partial(build_train_loader, cfg)
            own.append(PreciseStatistics(self.model, batches, cfg.TEST.PRECISE_BN.NUM_ITER, cfg.TEST.EVAL_PERIOD))
        return own

    def evaluation_hooks(self) -> list:
        return [SamplePictures(self.cfg, self.checkpointer.model)] if self.cfg.TEST.PICTURES else []

    @classmethod
    def metadata(cls, cfg) -> dict:
        anchors = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "task": "detection",
            "arch": spec_of_builder(cfg.MODEL.BACKBONE.NAME).name,
            "initial_weights": cfg.MODEL.WEIGHTS,
            "norm": cfg.MODEL.RESNETS.NORM,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "channel_order": cfg.INPUT.FORMAT,
            "classes": list(cfg.DATASETS.CLASSES),
            "anchors": {
                "sizes": [list(level) for level in anchors.SIZES],
                "aspect_ratios": [list(level) for level in anchors.ASPECT_RATIOS],
            },
            "config": model_config(cfg),
        }

    def load_weights(self, plan: RunPlan) -> None:
        if plan.weights:
            load_detector(self.cfg, self.checkpointer.model, plan.weights, for_training=True)


def evaluate(plan: RunPlan) -> dict[str, dict[str, float]]:
    """Evaluates the weights of the plan on DATASETS.TEST; see `report`."""
    model = build_model(plan.cfg)
    load_detector(plan.cfg, model, plan.weights, for_training=False)
    plan.release()
    start = time.perf_counter()
    results = DetectionTrainer.test(plan.cfg, model)
    return report(plan.cfg, model, results, time.perf_counter() - start)


def train(plan: RunPlan) -> dict[str, dict[str, float]] | None:
    """Trains, evaluates, and leaves OUTPUT_DIR/model_final.pth and model_card.md; see `report`.

    Returns:
        what `report` does; None where SIGTERM stopped the run.
    """
    start = time.perf_counter()
    trainer = DetectionTrainer(plan)
    if not trainer.train():
        return None
    model = trainer.checkpointer.model
    rows = report(plan.cfg, model, trainer.evaluation.results, time.perf_counter() - start)
    if comm.is_main_process():
        write_detector_card(plan.cfg, model, rows)
    return rows


def report(cfg: CfgNode, model: nn.Module, results: dict, seconds: float) -> dict[str, dict[str, float]]:
    """Prints a table, writes OUTPUT_DIR/results.json and draws pictures.

    Args:
        cfg: the config of the run.
        model: the detector, for the pictures.
        results: what `DetectionTrainer.test` returned.
        seconds: time that the run took.

    Returns:
        data set -> AP, AP50, AP75, VOC AP50 and AP per class in %, and seconds; of VOC 2007 the 11-point "VOC07 AP50"
        first; empty but in the main process. The file has all figures of the evaluators beside them, as "bbox/APs",
        "errors/Loc" and the like.
    """
    if not comm.is_main_process():
        return {}
    per_set = results if len(cfg.DATASETS.TEST) > 1 else {cfg.DATASETS.TEST[0]: results}
    rows = {
        name: summary(r, cfg.DATASETS.CLASSES, eleven_points=reports_eleven_points(name)) | {"seconds": seconds}
        for name, r in per_set.items()
    }
    log.info("%s", table(rows))
    for name, of_set in per_set.items():
        for line in remarks(of_set):
            log.info("%s: %s", name, line)
    content = {name: {**row, **flatten_results_dict(per_set[name])} for name, row in rows.items()}
    write_json(content, Path(cfg.OUTPUT_DIR, "results.json"))
    if cfg.TEST.PICTURES and cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork":
        folder = Path(cfg.OUTPUT_DIR, "pictures")
        draw_pictures(cfg, model, cfg.DATASETS.TEST[0], folder, cfg.TEST.PICTURES)
        log.info("pictures, truth left and prediction right: %s", folder)
    check_expected_results(cfg, results)
    return rows
