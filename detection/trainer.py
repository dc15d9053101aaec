"""Detection: cfg -> a trained detector, its AP and pictures."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from pathlib import Path

import detection.roi_heads  # noqa: F401  registers the C4 head
from backbones.checkpointer import check_same_run, last_checkpoint
from backbones.engine import Trainer, check_engine
from backbones.errors import InputError
from backbones.hooks import progress
from backbones.registry import spec_of_builder
from backbones.weights import read_weights, take_preprocessing
from detection.checkpoint import is_detector, load_detector
from detection.coco import write_coco
from detection.datasets import register_datasets, slug
from detection.evaluator import VOCEvaluator
from detection.mapper import DetectionMapper, build_pipeline
from detection.report import draw_pictures, summary, table, write_json

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import nn

log = logging.getLogger("residet")


def prepare(cfg: CfgNode, *, eval_only: bool, resume: bool = False) -> list[str]:
    """Checks everything that comes from outside before a run starts, and fills what follows from it into cfg.

    Returns:
        lines on what was read, for the log.

    Raises:
        InputError: arch, data, weights or transforms cannot be used; the message says what and how to mend it.
    """
    spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    lines = check_engine(cfg)
    build_pipeline(cfg.INPUT.ALBUMENTATIONS)
    unknown = set(cfg.TEST.EVALUATORS) - {"coco", "voc"}
    if unknown or not cfg.TEST.EVALUATORS:
        raise InputError(f"TEST.EVALUATORS: {list(cfg.TEST.EVALUATORS)} must be some of 'coco', 'voc'")
    if eval_only:
        if not cfg.MODEL.WEIGHTS:
            raise InputError("--eval-only: give MODEL.WEIGHTS FILE")
        cfg.DATASETS.TRAIN = ()
    elif not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN: empty; name data with --data DIR or --train DIR:SPLIT|FILE.json")
    source = last_checkpoint(cfg) if resume else cfg.MODEL.WEIGHTS
    if source:
        weights = read_weights(source)
        if weights.normalisation and weights.mean is None:
            raise InputError(
                f"{source}: was trained on whitened images, which a detector has not; use one with mean_std"
            )
        take_preprocessing(cfg, weights)
        if eval_only and is_detector(weights) and weights.classes:
            cfg.DATASETS.CLASSES = weights.classes
    lines += register_datasets(cfg)
    if resume:
        check_same_run(cfg, DetectionTrainer.metadata(cfg))
    elif not source and (cfg.MODEL.BACKBONE.FREEZE_AT or cfg.MODEL.RESNETS.NORM == "FrozenBN"):
        lines.append(
            "MODEL.WEIGHTS is empty: MODEL.BACKBONE.FREEZE_AT and FrozenBN freeze random weights; "
            "name a checkpoint, or set them to 0 and BN"
        )
    return lines


class _QuietCOCOEvaluator(COCOEvaluator):
    """pycocotools prints; what it says goes to the log."""

    def evaluate(self, img_ids=None):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            results = super().evaluate(img_ids)
        logging.getLogger("detectron2").info(printed.getvalue())
        return results

    def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
        if coco_eval is not None:
            return super()._derive_coco_results(coco_eval, iou_type, class_names)
        # Without a single detection detectron2 gives NaN; an empty result has found nothing.
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP-{c}" for c in class_names)]
        return dict.fromkeys(names, 0.0)


class DetectionTrainer(Trainer):
    """detectron2's engine on registered data."""

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        return build_model(cfg)

    @classmethod
    def build_train_loader(cls, cfg, start_iter: int = 0):
        mapper = DetectionMapper(cfg, True)
        part = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE
        return build_detection_train_loader(cfg, mapper=mapper, total_batch_size=part)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        loader = build_detection_test_loader(cfg, dataset_name, mapper=DetectionMapper(cfg, False))
        return progress(loader, desc=f"test {dataset_name}", unit="img", leave=False)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        evaluators = []
        if "coco" in cfg.TEST.EVALUATORS:
            evaluators.append(_coco_evaluator(cfg, dataset_name))
        if "voc" in cfg.TEST.EVALUATORS:
            evaluators.append(VOCEvaluator(dataset_name))
        return DatasetEvaluators(evaluators)

    @classmethod
    def metadata(cls, cfg) -> dict:
        return {
            "task": "detection",
            "arch": spec_of_builder(cfg.MODEL.BACKBONE.NAME).name,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "channel_order": cfg.INPUT.FORMAT,
            "classes": list(cfg.DATASETS.CLASSES),
        }

    @classmethod
    def load_weights(cls, cfg, model: nn.Module) -> None:
        if cfg.MODEL.WEIGHTS:
            load_detector(cfg, model, for_training=True)


def _coco_evaluator(cfg: CfgNode, dataset_name: str) -> COCOEvaluator:
    folder = Path(cfg.OUTPUT_DIR, "inference")
    truth = folder / f"{slug(dataset_name)}_truth.json"
    if comm.is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_coco(DatasetCatalog.get(dataset_name), cfg.DATASETS.CLASSES, truth)
    comm.synchronize()
    MetadataCatalog.get(dataset_name).json_file = str(truth)
    return _QuietCOCOEvaluator(dataset_name, ("bbox",), output_dir=str(folder))


def evaluate(cfg: CfgNode) -> dict[str, dict[str, float]]:
    """Evaluates cfg.MODEL.WEIGHTS on DATASETS.TEST; see `report`."""
    model = build_model(cfg)
    load_detector(cfg, model, for_training=False)
    start = time.perf_counter()
    results = DetectionTrainer.test(cfg, model)
    return report(cfg, model, results, time.perf_counter() - start)


def train(cfg: CfgNode, resume: bool = False) -> dict[str, dict[str, float]]:
    """Trains, evaluates, and leaves OUTPUT_DIR/model_final.pth; see `report`."""
    start = time.perf_counter()
    trainer = DetectionTrainer(cfg)
    trainer.resume_or_load(resume)
    if not trainer.train():
        return {}
    return report(cfg, trainer.checkpointer.model, trainer.evaluation.results, time.perf_counter() - start)


def report(cfg: CfgNode, model: nn.Module, results: dict, seconds: float) -> dict[str, dict[str, float]]:
    """Prints a table, writes OUTPUT_DIR/results.json and draws pictures.

    Returns:
        data set -> AP, AP50, AP75, VOC AP50 and AP per class in %, and seconds; empty but in the main process.
    """
    if not comm.is_main_process():
        return {}
    per_set = results if len(cfg.DATASETS.TEST) > 1 else {cfg.DATASETS.TEST[0]: results}
    rows = {name: {**summary(r, cfg.DATASETS.CLASSES), "seconds": seconds} for name, r in per_set.items()}
    log.info("%s", table(rows))
    write_json(rows, Path(cfg.OUTPUT_DIR, "results.json"))
    if cfg.TEST.PICTURES:
        folder = Path(cfg.OUTPUT_DIR, "pictures")
        draw_pictures(cfg, model, cfg.DATASETS.TEST[0], folder, cfg.TEST.PICTURES)
        log.info("pictures, truth left and prediction right: %s", folder)
    return rows
