"""Config keys of pretraining, beside detectron2's own SOLVER, DATALOADER, TEST, MODEL.DEVICE, OUTPUT_DIR and SEED."""

from __future__ import annotations

from backbones.weights import IMAGENET_MEAN, IMAGENET_STD

from detectron2.config import CfgNode, get_cfg


def add_classification_config(cfg: CfgNode) -> None:
    """Adds cfg.CLASSIFICATION, and turns detectron2's defaults into a classifier's where they differ."""
    c = cfg.CLASSIFICATION = CfgNode()
    # Network, a name of backbones.catalogue.CATALOGUE or of a Wide ResNet (backbones/wide.py).
    c.ARCH = "resnet50"
    # Begin with branches of zero: the last norm of every block has weight 0.
    c.ZERO_INIT_RESIDUAL = False
    # Keep only the inputs of the blocks, and compute the rest again in the backward pass: less memory, more time.
    c.CHECKPOINT_ACTIVATIONS = False
    # Folder with train/CLASS/* and val/CLASS/* (or test/CLASS/*).
    c.DATA = ""
    # Names of the classes, in the order of the outputs. Filled from the data.
    c.CLASSES = ()
    # Length of training in passes over the training images. It sets SOLVER.MAX_ITER.
    c.EPOCHS = 90
    # Passes after which the learning rate is multiplied by SOLVER.GAMMA. They set SOLVER.STEPS.
    c.STEP_EPOCHS = (30, 60, 80)
    # Passes between two evaluations; 0 evaluates at the end only.
    # It sets TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD.
    c.EVAL_EPOCHS = 1

    # Side of the square that the network sees, in pixels.
    c.SIZE = 224
    # Short side to which an image is resized before the central SIZE x SIZE crop, in evaluation.
    c.RESIZE = 256
    # Training crop: "scale" (scale and aspect-ratio augmentation, as ResNeXt has it) or "pad" (pad and random crop,
    # as the CIFAR networks have it; images are resized to RESIZE first).
    c.CROP = "scale"
    # Range of the share of the image's area that a "scale" crop covers.
    c.CROP_AREA = (0.08, 1.0)
    # Pixels of zeros around the image of a "pad" crop.
    c.PAD = 4

    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"  # and no other: PIL reads so
    cfg.DATASETS.TEST = ("val",)
    cfg.SOLVER.IMS_PER_BATCH = 256
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WEIGHT_DECAY_NORM = cfg.SOLVER.WEIGHT_DECAY
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.OUTPUT_DIR = "output/pretrain"
    cfg.SEED = 0


def default_config() -> CfgNode:
    """detectron2's config with pretraining's keys and defaults."""
    cfg = get_cfg()
    add_classification_config(cfg)
    return cfg


def set_iterations(cfg: CfgNode, images: int) -> None:
    """Turns epochs into detectron2's iterations, for a training set of so many images."""
    per_epoch = max(images // cfg.SOLVER.IMS_PER_BATCH, 1)
    c = cfg.CLASSIFICATION
    cfg.SOLVER.MAX_ITER = max(round(c.EPOCHS * per_epoch), 1)
    cfg.SOLVER.STEPS = tuple(round(e * per_epoch) for e in c.STEP_EPOCHS if e < c.EPOCHS)
    cfg.TEST.EVAL_PERIOD = round(c.EVAL_EPOCHS * per_epoch)
    if c.EVAL_EPOCHS:
        cfg.SOLVER.CHECKPOINT_PERIOD = cfg.TEST.EVAL_PERIOD
