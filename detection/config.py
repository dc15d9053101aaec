"""Config keys of detection, beside detectron2's own."""

from __future__ import annotations

from backbones.engine import add_engine_config
from backbones.weights import IMAGENET_MEAN, IMAGENET_STD

from detectron2.config import CfgNode, get_cfg


def add_detection_config(cfg: CfgNode) -> None:
    """Adds the keys below, and the preprocessing that torchvision's and our weights were trained with."""
    # Names of the classes, in the order of the outputs. Filled from the training data where left empty.
    cfg.DATASETS.CLASSES = ()
    # albumentations transforms applied in training, in order, before detectron2's resize and flip:
    # a list of {NAME: {argument: value}}, e.g. [{"HueSaturationValue": {"p": 0.5}}].
    cfg.INPUT.ALBUMENTATIONS = []
    # Metrics: "coco" (AP over IoU .5 to .95) and "voc" (AP at IoU .5, `difficult` objects ignored).
    cfg.TEST.EVALUATORS = ("coco", "voc")
    # So many images of the test set are drawn, truth beside prediction, into OUTPUT_DIR/pictures.
    cfg.TEST.PICTURES = 8

    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"
    cfg.OUTPUT_DIR = "output/detection"
    cfg.SEED = 0


def default_config() -> CfgNode:
    """detectron2's config with detection's keys and defaults."""
    cfg = get_cfg()
    add_engine_config(cfg)
    add_detection_config(cfg)
    return cfg
