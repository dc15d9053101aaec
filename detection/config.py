"""The config of a detector: the keys that residet adds to detectron2's, with their defaults."""

from __future__ import annotations

import detection.heads  # noqa: F401  registers the RoI heads that configs name
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD
from residet.config import add_engine_config

from detectron2.config import CfgNode, get_cfg


def add_detection_config(cfg: CfgNode) -> None:
    """Adds residet's keys of detection to detectron2's config.

    Sets the preprocessing, too: RGB pixels, normalised as torchvision's and residet's weights were trained.
    """
    # Names of the classes, in the order of the outputs. If empty, the classes of the training data.
    cfg.DATASETS.CLASSES = ()
    # Number of the first pixel in VOC's XML files. 1: corners are pixels counted from 1, and the box includes the pixel
    # of the last corner, as in VOC's own files. 0: corners are continuous coordinates, as many tools write them.
    cfg.DATASETS.VOC_FIRST_PIXEL = 1
    # How folders of data are read: "" by what lies in them, or the name of a reader, such as "voc", "coco" or "yolo".
    cfg.DATASETS.FORMAT = ""
    # Whether to leave out annotated images whose file is absent. False: such data are refused.
    cfg.DATASETS.SKIP_MISSING = False
    # Whether to train on objects that are marked `difficult`. detectron2 does; Fast and Faster R-CNN did not.
    cfg.DATASETS.TRAIN_ON_DIFFICULT = True
    # Share of the images that are for the test, and the seed that chooses them, where data have no test split. The seed
    # is not SEED, so that runs with other seeds are tested on the same images.
    cfg.DATASETS.VAL_SHARE = 0.2
    cfg.DATASETS.VAL_SEED = 0
    # Number of training images that the config's schedule and anchors are meant for. If --train or --data names data
    # with another number of images, schedule and anchors are scaled to the data; 0 turns the scaling off.
    cfg.DATASETS.SCHEDULE_IMAGES = 0
    # Factor of the learning rate for the layers that a pretrained classifier contains: the backbone without its
    # pyramid, and stage 5 in a C4 head. Below 1, these layers change less than those that start from random weights.
    cfg.SOLVER.BACKBONE_LR_FACTOR = 1.0
    # Factor of every block's branch at the start of a training from random weights: the last norm of a block (of a
    # pre-activation block the last convolution) starts with its weights multiplied by the factor. Below 1, a deep
    # network with BN learns faster. Stage 5 of a C4 head counts as a part of the network.
    cfg.MODEL.RESNETS.RESIDUAL_SCALE = 1.0
    # Stores weights and feature maps in memory format NHWC: with bfloat16 faster on CPUs that compute in it.
    cfg.MODEL.CHANNELS_LAST = False
    # The phases of a training in several phases, in order; see detection/phases.py. Empty for a training in one phase.
    cfg.PHASES = []
    # Augmentation: albumentations transforms of the training images, in order, before detectron2's resize and flip. A
    # list of {NAME: {argument: value}}, e.g. [{"HueSaturationValue": {"p": 0.5}}].
    cfg.INPUT.ALBUMENTATIONS = []
    # Whether the features of the whole image are joined to the features of each region (ResNet, appendix B).
    cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT = False
    # Integral loss of MultiPathROIHeads: a classifier for each IoU from which a region counts as an object. () for a
    # single classifier with IoU 0.5.
    cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    # How regions are sampled for the integral loss. "each": an iteration draws one of INTEGRAL_IOUS, samples regions
    # with objects at that IoU, and trains that IoU's classifier (MultiPathNet's code). "once": regions are sampled at
    # the IoUs of MODEL.ROI_HEADS.IOU_THRESHOLDS and labelled for every classifier.
    cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING = "each"
    # LocNet's localisation, which moves boxes at test in the place of box regression (detection/heads/locnet.py).
    cfg.MODEL.ROI_LOC_HEAD = CfgNode(
        {
            "MODE": "",  # "in_out", "borders" or "combined"; "" for no localisation
            "RESOLUTION": 28,  # number of columns, and of rows, of a search region
            "SEARCH": 1.8,  # size of the search region, in sizes of the box
            "CONV_DIM": 512,  # channels of the localiser's convolutions
            "ROUNDS": 3,  # number of times that boxes are moved at test
        }
    )
    # Number of times that boxes are pooled and regressed again (ResNet, appendix B: 1).
    cfg.TEST.BOX_REFINEMENTS = 0
    # Box voting: a detection's box becomes the mean of the boxes of its class that overlap the detection by this IoU or
    # more (ResNet, appendix B: 0.5). 0 for no voting.
    cfg.TEST.BOX_VOTING_IOU = 0.0
    # Multi-scale testing: short sides of the resized images in pixels (ResNet, appendix B: 200, 400, 600, 800, 1000).
    # Each region is pooled at the two scales that fit it best; the RPN runs at INPUT.MIN_SIZE_TEST. () for one scale.
    cfg.TEST.REGION_SCALES = ()
    # Testing of large images in tiles. SIZE: side of a tile in pixels, 0 for no tiles. OVERLAP: part of a tile that the
    # next tile shows too.
    cfg.TEST.TILES = CfgNode({"SIZE": 0, "OVERLAP": 0.2})
    # Whether a test also gives the losses on the test data, such as "validation/total_loss".
    cfg.TEST.LOSS = False
    # What computes COCO's AP: "numpy", our own code, or "pycocotools", which takes longer. Both give the same numbers.
    cfg.TEST.COCO_API = "numpy"
    # Metrics: "coco" (AP over IoU 0.5 to 0.95), "voc" (AP over the same IoUs, computed as VOC does, which ignores
    # `difficult` objects), "imagenet_det" (AP as ImageNet DET computes it, which demands less of small objects) and
    # "errors" (TIDE's kinds of errors, and a confusion matrix and precision-recall curves in OUTPUT_DIR/inference).
    cfg.TEST.EVALUATORS = ("coco", "voc", "errors")
    # Number of test images that are drawn into OUTPUT_DIR/pictures, annotated objects beside detections.
    cfg.TEST.PICTURES = 8

    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"
    cfg.OUTPUT_DIR = "output/detection"
    cfg.SEED = 0


def default_config() -> CfgNode:
    """detectron2's config with residet's keys and defaults for detection."""
    cfg = get_cfg()
    add_engine_config(cfg)
    add_detection_config(cfg)
    return cfg


def freeze_stages(cfg: CfgNode, count: int) -> None:
    """Freezes the first `count` stages of the backbone: 0 none, 1 the stem, 2 the stem and res2, …"""
    cfg.MODEL.BACKBONE.FREEZE_AT = count


def from_scratch(cfg: CfgNode) -> None:
    """Sets the config to train from random weights: nothing frozen, and group norms in backbone and pyramid.

    The statistics of group norm do not depend on the batch, which in detection has few images.
    """
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.NORM = "GN"
    if "_fpn_" in cfg.MODEL.BACKBONE.NAME:
        cfg.MODEL.FPN.NORM = "GN"
