"""Config keys of pretraining, beside detectron2's own SOLVER, DATALOADER, TEST, MODEL.DEVICE, OUTPUT_DIR and SEED."""

from __future__ import annotations

from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD
from residet.config import add_engine_config

from detectron2.config import CfgNode, get_cfg


def add_classification_config(cfg: CfgNode) -> None:
    """Adds cfg.CLASSIFICATION, and changes those defaults of detectron2 that do not suit a classifier."""
    c = cfg.CLASSIFICATION = CfgNode()
    _add_network(c)
    _add_data(c)
    _add_schedule(c)
    _add_augmentation(c)
    _add_test(c)
    cfg.MODEL.PIXEL_MEAN = list(IMAGENET_MEAN)
    cfg.MODEL.PIXEL_STD = list(IMAGENET_STD)
    cfg.MODEL.WEIGHTS = ""
    cfg.INPUT.FORMAT = "RGB"  # pretraining refuses every other format
    cfg.DATASETS.TEST = ("val",)
    cfg.SOLVER.IMS_PER_BATCH = 256
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.WEIGHT_DECAY_NORM = cfg.SOLVER.WEIGHT_DECAY
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.TEST.BEST_METRIC = "val/top1_error"
    # With TEST.PRECISE_BN.ENABLED: number of batches over which BN's statistics are computed again at the end of the
    # run; 0 for one pass over the training set.
    cfg.TEST.PRECISE_BN.NUM_ITER = 0
    cfg.OUTPUT_DIR = "output/pretrain"
    cfg.SEED = 0


def _add_network(c: CfgNode) -> None:
    # Name of the network, from backbones.catalogue.CATALOGUE or by the grammar of Wide ResNets (backbones/wide.py).
    c.ARCH = "resnet50"
    # Factor of every block's branch at the start: the last norm of a block (of a pre-activation block the last
    # convolution) starts with its weights multiplied by it. 1 is what the papers do. With 0, every block starts as its
    # shortcut alone, and takes epochs to open.
    c.RESIDUAL_SCALE = 1.0
    # "BN", "SyncBN" (statistics over all GPUs), "naiveSyncBN" (the same on CPUs, slower) or "GN".
    c.NORM = "BN"
    # Training keeps only the inputs of the blocks, and computes the rest again in the backward pass: less memory, more
    # time.
    c.CHECKPOINT_ACTIVATIONS = False
    # Stores images and weights in memory format NHWC: faster in mixed precision on a GPU.
    c.CHANNELS_LAST = False
    # Compiles the network with torch.compile.
    c.COMPILE = False


def _add_data(c: CfgNode) -> None:
    # A name of classification.data.datasets.DATASETS: folder, imagenet, cifar10, cifar100, svhn or webdataset.
    c.DATASET = "folder"
    # The folder of the data. DATASET decides what the folder must hold.
    c.DATA = ""
    # Downloads the data from its authors into DATA if DATA lacks the data (cifar10, cifar100 and svhn).
    c.DOWNLOAD = False
    # Text file with the name of a class on each line. folder: only the classes in the file are used, in the file's
    # order (such as ImageNet-5K out of 22K); val may lack some of them. webdataset: the names of the classes 0, 1, …
    c.CLASS_LIST = ""
    # Names of the classes, in the order of the network's outputs. Filled from the data.
    c.CLASSES = ()
    # A training image that cannot be decoded is skipped, and the log names the image. The run ends when a process has
    # skipped more images than this number.
    c.MAX_BAD_IMAGES = 100
    # webdataset: TRAIN and VAL name the shards, with braces, as paths below DATA or as URLs. TRAIN_IMAGES and
    # VAL_IMAGES are the numbers of images in the shards; 0 counts the images, if the shards are files.
    c.SHARDS = CfgNode({"TRAIN": "", "VAL": "", "TRAIN_IMAGES": 0, "VAL_IMAGES": 0})


def _add_schedule(c: CfgNode) -> None:
    # Length of training in passes over the training images. EPOCHS sets SOLVER.MAX_ITER; 0 leaves the schedule in
    # iterations, as SOLVER.MAX_ITER and SOLVER.STEPS give it.
    c.EPOCHS = 90
    # Passes after which the learning rate is multiplied by SOLVER.GAMMA. STEP_EPOCHS sets SOLVER.STEPS.
    c.STEP_EPOCHS = (30, 60, 80)
    # Passes of linear warm-up from SOLVER.WARMUP_FACTOR, also parts of one. WARMUP_EPOCHS sets SOLVER.WARMUP_ITERS.
    c.WARMUP_EPOCHS = 0.0
    # Passes between two evaluations, and between two checkpoints: EVAL_EPOCHS sets TEST.EVAL_PERIOD and
    # SOLVER.CHECKPOINT_PERIOD. 0 leaves both in iterations; a TEST.EVAL_PERIOD of 0 evaluates at the end only.
    c.EVAL_EPOCHS = 1
    # Multiplies the length, the steps and the warm-up of the schedule.
    c.SCHEDULE_SCALE = 1.0
    # The learning rate is multiplied by SOLVER.WARMUP_FACTOR until the training error, in %, falls below this value; 0
    # for no such warm-up.
    c.WARMUP_UNTIL_ERROR = 0.0
    # With SOLVER.LR_SCHEDULER_NAME ReduceLROnPlateau: number of evaluations in a row without a lower top-1 error after
    # which the learning rate is multiplied by SOLVER.GAMMA.
    c.PLATEAU_PATIENCE = 5


def _add_augmentation(c: CfgNode) -> None:
    # Side of the square that the network sees in training, in pixels.
    c.SIZE = 224
    # How a training image is cut to SIZE x SIZE:
    #   "scale"       a rectangle of random area and aspect ratio, resized (fb.resnet.torch)
    #   "short_side"  a random crop, after the short side is resized to a random length (ResNet)
    #   "pad"         a random crop of the image, resized to RESIZE x RESIZE and padded with the mean (CIFAR)
    #   "reflect"     the same, padded by reflection (CIFAR)
    #   "none"        the whole image, resized
    c.CROP = "scale"
    # CROP "scale": range of the crop's area, as a share of the image's area.
    c.CROP_AREA = (0.08, 1.0)
    # CROP "short_side": range of the short side, in pixels.
    c.SHORT_SIDE = (256, 480)
    # CROP "pad" and "reflect": width of the padding on every side, in pixels.
    c.PAD = 4
    # Mirrors half of the images.
    c.FLIP = True
    # "none", "pca" (AlexNet's noise along the colours' principal components) or "jitter" (brightness, contrast and
    # saturation, then pca: fb.resnet.torch).
    c.COLOUR = "none"
    # One random operation of random strength on each image (torchvision's TrivialAugmentWide).
    c.TRIVIAL_AUGMENT = False
    # Share of the images in which a random rectangle is erased.
    c.RANDOM_ERASING = 0.0
    # Parameter of the beta distribution of mixup and of cutmix; 0 leaves the method out. With both, each batch gets one
    # of the two methods, at random.
    c.MIXUP = 0.0
    c.CUTMIX = 0.0
    # Share of each target that is spread evenly over all classes.
    c.LABEL_SMOOTHING = 0.0
    # How images are resized, in training and at test: "bilinear" and "bicubic" smooth an image that becomes smaller, as
    # PIL does; "bicubic_aliased" does not, as Torch 7, on which fb.resnet.torch and ResNeXt's code ran.
    c.INTERPOLATION = "bilinear"
    # How pixels become the network's input: "mean_std" (MODEL.PIXEL_MEAN and PIXEL_STD; a mean of 0 and a std of 255
    # divide by 255), "pixel_mean" (the training set's mean image subtracted) or "zca" (global contrast normalisation,
    # ZCA whitening). "pixel_mean" and "zca" are fitted on the training set and saved with the checkpoint.
    c.NORMALISE = "mean_std"


def _add_test(c: CfgNode) -> None:
    # Short side to which a test image is resized before its crops, in pixels. In training, CROP "pad" and "reflect"
    # resize the image to RESIZE x RESIZE.
    c.RESIZE = 256
    c.TEST = CfgNode()
    # "crop" (the central square of side TEST.SIZE), "10crop" (corners and centre, each mirrored too) or "dense" (fully
    # convolutional, at every short side in TEST.SCALES, mirrored too).
    c.TEST.VIEWS = "crop"
    # Side of the crops, in pixels; 0 for SIZE.
    c.TEST.SIZE = 0
    # VIEWS "dense": short sides, in pixels.
    c.TEST.SCALES = (224, 256, 384, 480, 640)


def default_config() -> CfgNode:
    """detectron2's config with the keys and defaults of pretraining."""
    cfg = get_cfg()
    add_engine_config(cfg)
    add_classification_config(cfg)
    return cfg
