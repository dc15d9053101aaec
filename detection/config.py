"""Config keys of detection, beside detectron2's own."""

from __future__ import annotations

import detection.heads  # noqa: F401  registers the RoI heads that configs name
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD
from residet.config import add_engine_config

from detectron2.config import CfgNode, get_cfg


def add_detection_config(cfg: CfgNode) -> None:
    """Adds the keys below, and the preprocessing that torchvision's and our weights were trained with."""
    # Names of the classes, in the order of the outputs. Filled from the training data where left empty.
    cfg.DATASETS.CLASSES = ()
    # Number of the first pixel in VOC's XML: 1 where corners are pixels counted from 1, the last one included, as VOC's
    # own are; 0 where they are continuous, as many tools write them.
    cfg.DATASETS.VOC_FIRST_PIXEL = 1
    # Objects marked `difficult` are trained on, as detectron2 does; Fast and Faster R-CNN leave them out.
    cfg.DATASETS.TRAIN_ON_DIFFICULT = True
    # Training images that the config's anchors and schedule are for: --train and --data of another number scale them;
    # 0 leaves them.
    cfg.DATASETS.SCHEDULE_IMAGES = 0
    # Steps of a training in several, in order, instead of one; see detection/phases.py.
    cfg.PHASES = []
    # albumentations transforms applied in training, in order, before detectron2's resize and flip:
    # a list of {NAME: {argument: value}}, e.g. [{"HueSaturationValue": {"p": 0.5}}].
    cfg.INPUT.ALBUMENTATIONS = []
    # The features of the whole image stand beside those of each region (ResNet, appendix B).
    cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT = False
    # Of MultiPathROIHeads: overlaps for each of which it has a classifier; () for one alone, of 0.5.
    cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    # LocNet's localisation in the place of box regression at test. MODE: "" for none, "in_out", "borders", "combined".
    cfg.MODEL.ROI_LOC_HEAD = CfgNode(
        {
            "MODE": "",
            "RESOLUTION": 28,  # columns and rows of a search region
            "SEARCH": 1.8,  # size of the search region, in sizes of the box
            "CONV_DIM": 512,
            "ROUNDS": 3,  # times that boxes are moved at test
        }
    )
    # So many times boxes are pooled and regressed again (ResNet, appendix B: once).
    cfg.TEST.BOX_REFINEMENTS = 0
    # IoU from which a box has a vote in a detection's place (ResNet, appendix B: 0.5); 0 for no voting.
    cfg.TEST.BOX_VOTING_IOU = 0.0
    # Short sides of the pyramid of which each region takes the two that suit it best (ResNet, appendix B: 200, 400,
    # 600, 800, 1000); proposals are of INPUT.MIN_SIZE_TEST. () for one scale.
    cfg.TEST.REGION_SCALES = ()
    # Large images are cut into tiles of SIZE pixels that overlap by a part OVERLAP of it; 0 for none.
    cfg.TEST.TILES = CfgNode({"SIZE": 0, "OVERLAP": 0.2})
    # The losses on the test data beside the metrics, as "validation/total_loss".
    cfg.TEST.LOSS = False
    # What computes COCO's AP: "faster_coco_eval" or "pycocotools"; the numbers are the same.
    cfg.TEST.COCO_API = "faster_coco_eval"
    # Metrics: "coco" (AP over IoU .5 to .95), "voc" (the same as VOC counts, `difficult` objects ignored) and "errors"
    # (TIDE's, with a confusion matrix and precision-recall curves in OUTPUT_DIR/inference).
    cfg.TEST.EVALUATORS = ("coco", "voc", "errors")
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


def freeze_stages(cfg: CfgNode, count: int) -> None:
    """Freezes so many stages of the backbone: 0 none, 1 the stem, 2 the stem and res2, …"""
    cfg.MODEL.BACKBONE.FREEZE_AT = count


def from_scratch(cfg: CfgNode) -> None:
    """Random weights: nothing frozen, and group norm, whose statistics do not depend on how few images a batch has."""
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.NORM = "GN"
    if "_fpn_" in cfg.MODEL.BACKBONE.NAME:
        cfg.MODEL.FPN.NORM = "GN"
