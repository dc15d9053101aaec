"""Config keys of localisation, beside detectron2's SOLVER, DATALOADER, TEST, MODEL.DEVICE, PIXEL_MEAN, … and SEED."""

from __future__ import annotations

from backbones.errors import InputError
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD
from residet.config import add_engine_config

from detectron2.config import CfgNode, get_cfg

STAGES = ("rpn", "rcnn")


def add_localisation_config(cfg: CfgNode) -> None:
    """Adds cfg.LOCALISATION, and changes those defaults of detectron2 that do not suit localisation."""
    c = cfg.LOCALISATION = CfgNode()
    # Name of the network, from backbones.catalogue.CATALOGUE.
    c.ARCH = "resnet101_caffe"
    # The folder ILSVRC, with Annotations/CLS-LOC, Data/CLS-LOC and ImageSets/CLS-LOC.
    c.DATA = ""
    # What is trained and tested: "rpn" (boxes of each class by an RPN) or "rcnn" (the RPN's boxes, moved and scored by
    # an R-CNN). The tool fills it in.
    c.STAGE = "rpn"
    # WNIDs of the classes, in the order of the outputs. Filled from the data.
    c.CLASSES = ()
    # Side of training crops and of warped regions, in pixels.
    c.SIZE = 224
    # Training: the short side is resized to a random length in this range, in pixels, before the crop.
    c.SHORT_SIDE = (256, 480)
    # Sides of the anchors in pixels, and height divided by width.
    c.ANCHOR_SIZES = (64, 128, 256)
    c.ANCHOR_RATIOS = (0.5, 1.0, 2.0)
    # Channels of the RPN's 3x3 convolution.
    c.HIDDEN = 512
    # Number of anchors that are sampled of an image, half of them objects (appendix C: 8, 1:1).
    c.ANCHORS_PER_IMAGE = 8
    # Number of the RPN's boxes that the R-CNN takes of an image and class (appendix C: 200).
    c.PROPOSALS = 200
    # IoU with an object from which the R-CNN counts a box as the object.
    c.RCNN_IOU = 0.5
    # Short side of a test image before its central crop, in pixels.
    c.RESIZE = 256
    # Short sides at which whole images are tested, and their classes predicted, in pixels, such as (224, 256, 384, 480,
    # 640); () for the central crop.
    c.TEST_SCALES = ()
    # Number of classes that are predicted for an image.
    c.PREDICTED = 5
    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"
    cfg.DATASETS.TEST = ("val",)
    cfg.SOLVER.IMS_PER_BATCH = 256
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.STEPS = (50000, 80000)
    cfg.SOLVER.MAX_ITER = 100000
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WEIGHT_DECAY_NORM = cfg.SOLVER.WEIGHT_DECAY
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.OUTPUT_DIR = "output/localisation"
    cfg.SEED = 0


def default_config() -> CfgNode:
    """detectron2's config with the keys and defaults of localisation."""
    cfg = get_cfg()
    add_engine_config(cfg)
    add_localisation_config(cfg)
    return cfg


def check_config(cfg: CfgNode) -> None:
    """Raises InputError if a key of LOCALISATION has a value that cannot be used."""
    c = cfg.LOCALISATION
    if c.STAGE not in STAGES:
        raise InputError(f"LOCALISATION.STAGE: {c.STAGE!r} is none of {', '.join(STAGES)}")
    if c.SIZE < 32 or c.RESIZE < c.SIZE or min(c.SHORT_SIDE) < c.SIZE or len(c.SHORT_SIDE) != 2:
        raise InputError(
            f"LOCALISATION.SIZE: {c.SIZE} must be 32 or more, and no more than RESIZE {c.RESIZE} and SHORT_SIDE "
            f"{tuple(c.SHORT_SIDE)}"
        )
    for key in ("ANCHORS_PER_IMAGE", "PROPOSALS", "PREDICTED", "HIDDEN"):
        if c[key] < 1:
            raise InputError(f"LOCALISATION.{key}: {c[key]} must be 1 or more")
    if not c.ANCHOR_SIZES or not c.ANCHOR_RATIOS or min(*c.ANCHOR_SIZES, *c.ANCHOR_RATIOS, *c.TEST_SCALES, 1) <= 0:
        raise InputError("LOCALISATION: ANCHOR_SIZES, ANCHOR_RATIOS and TEST_SCALES must be numbers above 0")
