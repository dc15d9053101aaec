"""Config keys of pretraining, beside detectron2's own SOLVER, DATALOADER, TEST, MODEL.DEVICE, OUTPUT_DIR and SEED."""

from __future__ import annotations

from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD
from residet.config import add_engine_config

from detectron2.config import CfgNode, get_cfg


def add_classification_config(cfg: CfgNode) -> None:
    """Adds cfg.CLASSIFICATION, and turns detectron2's defaults into a classifier's where they differ."""
    c = cfg.CLASSIFICATION = CfgNode()
    _add_network(c)
    _add_data(c)
    _add_schedule(c)
    _add_augmentation(c)
    _add_test(c)
    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"  # and no other
    cfg.DATASETS.TEST = ("val",)
    cfg.SOLVER.IMS_PER_BATCH = 256
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WEIGHT_DECAY_NORM = cfg.SOLVER.WEIGHT_DECAY
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.TEST.BEST_METRIC = "val/top1_error"
    # BN's statistics anew at the end, over NUM_ITER batches; 0 for one pass over the training set.
    cfg.TEST.PRECISE_BN.NUM_ITER = 0
    cfg.OUTPUT_DIR = "output/pretrain"
    cfg.SEED = 0


def _add_network(c: CfgNode) -> None:
    # Network, a name of backbones.catalogue.CATALOGUE or of a Wide ResNet (backbones/wide.py).
    c.ARCH = "resnet50"
    # Begin with branches of zero: the last norm of every block has weight 0.
    c.ZERO_INIT_RESIDUAL = False
    # "BN", "SyncBN" (statistics over all GPUs), "naiveSyncBN" (the same on CPUs, slower) or "GN".
    c.NORM = "BN"
    # Keep only the inputs of the blocks, and compute the rest again in the backward pass: less memory, more time.
    c.CHECKPOINT_ACTIVATIONS = False
    # Memory format NHWC: faster in mixed precision on a GPU.
    c.CHANNELS_LAST = False
    # torch.compile of the network.
    c.COMPILE = False


def _add_data(c: CfgNode) -> None:
    # A name of classification.data.datasets.DATASETS: folder, imagenet, cifar10, cifar100, svhn or webdataset.
    c.DATASET = "folder"
    # The folder of the data; what must be in it depends on DATASET.
    c.DATA = ""
    # Fetch the data from its authors into DATA if it is not there (cifar10, cifar100 and svhn).
    c.DOWNLOAD = False
    # Text file with the name of a class on each line: only these classes, in this order. A subset such as ImageNet-5K.
    # Not all of them need be in val. webdataset: the names of the classes 0, 1, …
    c.CLASS_LIST = ""
    # Names of the classes, in the order of the outputs. Filled from the data.
    c.CLASSES = ()
    # Training images that cannot be decoded are skipped and named; more than so many end the run.
    c.MAX_BAD_IMAGES = 100
    # webdataset: shards with braces, below DATA or URLs, and how many images they hold (0: count, if they are files).
    c.SHARDS = CfgNode({"TRAIN": "", "VAL": "", "TRAIN_IMAGES": 0, "VAL_IMAGES": 0})


def _add_schedule(c: CfgNode) -> None:
    # Length of training in passes over the training images. It sets SOLVER.MAX_ITER; 0 leaves the schedule in
    # iterations, as SOLVER.MAX_ITER and SOLVER.STEPS have it.
    c.EPOCHS = 90
    # Passes after which the learning rate is multiplied by SOLVER.GAMMA. They set SOLVER.STEPS.
    c.STEP_EPOCHS = (30, 60, 80)
    # Passes of linear warm-up from SOLVER.WARMUP_FACTOR. They set SOLVER.WARMUP_ITERS.
    c.WARMUP_EPOCHS = 0
    # Passes between two evaluations, and between two checkpoints: sets TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD. 0
    # leaves these two in iterations; a TEST.EVAL_PERIOD of 0 evaluates at the end only.
    c.EVAL_EPOCHS = 1
    # Makes all of the schedule so many times as long.
    c.SCHEDULE_SCALE = 1.0
    # Learning rate x WARMUP_FACTOR until the training error falls below so many %; 0 for no such warm-up.
    c.WARMUP_UNTIL_ERROR = 0.0
    # SOLVER.LR_SCHEDULER_NAME ReduceLROnPlateau: evaluations without a lower top-1 error before x SOLVER.GAMMA.
    c.PLATEAU_PATIENCE = 5


def _add_augmentation(c: CfgNode) -> None:
    # Side of the square that the network sees in training, in pixels.
    c.SIZE = 224
    # Training crop: "scale" (scale and aspect-ratio augmentation, fb.resnet.torch), "short_side" (short side at random,
    # random crop: ResNet), "pad" or "reflect" (the image at RESIZE, padded with the mean or by reflection, random crop:
    # CIFAR), or "none" (the image at SIZE).
    c.CROP = "scale"
    # Range of the share of the image's area that a "scale" crop covers.
    c.CROP_AREA = (0.08, 1.0)
    # Range of the short side of a "short_side" crop, in pixels.
    c.SHORT_SIDE = (256, 480)
    # Pixels around the image of a "pad" or "reflect" crop.
    c.PAD = 4
    # Mirror half of the images.
    c.FLIP = True
    # "none", "pca" (AlexNet's noise along the colours' principal components) or "jitter" (brightness, contrast and
    # saturation, then pca: fb.resnet.torch).
    c.COLOUR = "none"
    c.TRIVIAL_AUGMENT = False
    # Share of the images with a random rectangle erased.
    c.RANDOM_ERASING = 0.0
    # Parameter of the beta distribution of mixup and of cutmix; of both, one is drawn for each batch. 0 for none.
    c.MIXUP = 0.0
    c.CUTMIX = 0.0
    c.LABEL_SMOOTHING = 0.0
    # Pixels become numbers by "mean_std" (MODEL.PIXEL_MEAN and PIXEL_STD; a mean of 0 and a std of 255 is / 255),
    # "pixel_mean" (the training set's mean image subtracted) or "zca" (global contrast normalisation, ZCA whitening).
    # The last two are fitted on the training set and saved with the checkpoint.
    c.NORMALISE = "mean_std"


def _add_test(c: CfgNode) -> None:
    # Short side to which an image is resized before the central crop.
    c.RESIZE = 256
    c.TEST = CfgNode()
    # "crop" (the central TEST.SIZE), "10crop" (corners and centre, mirrored too) or "dense" (fully convolutional, at
    # every short side of TEST.SCALES, mirrored too).
    c.TEST.VIEWS = "crop"
    # Side of the crops, in pixels; 0 for SIZE.
    c.TEST.SIZE = 0
    c.TEST.SCALES = (224, 256, 384, 480, 640)


def default_config() -> CfgNode:
    """detectron2's config with pretraining's keys and defaults."""
    cfg = get_cfg()
    add_engine_config(cfg)
    add_classification_config(cfg)
    return cfg
