"""The check of pretraining's config; and its keys that a run would not read, each with what to do instead."""

from __future__ import annotations

from collections.abc import Collection

from classification.config import default_config
from classification.schedule import PLATEAU
from classification.schema.contradictions import check_combinations
from classification.schema.table import TABLE
from residet.config import check_engine
from residet.schema.keys import check_overwritten, check_unused
from residet.schema.kinds import check_values

from detectron2.config import CfgNode

_NETWORK = "CLASSIFICATION.ARCH and CLASSIFICATION.NORM say what the network is"
_PIXELS = "CLASSIFICATION.SIZE, CROP, FLIP and the keys beside them say what is done to images"
_DATA = "--data and CLASSIFICATION.DATASET say where the images are"
_READ_OF_MODEL = ("DEVICE", "WEIGHTS", "PIXEL_MEAN", "PIXEL_STD")
_WITH_EPOCHS = "CLASSIFICATION.EPOCHS, STEP_EPOCHS and WARMUP_EPOCHS set it; EPOCHS 0 leaves iterations as they are"


def check_keys(cfg: CfgNode, overridden_keys: Collection[str] = ()) -> None:
    """Raises InputError where a key has a value it must not have, would not be read, or contradicts another.

    Args:
        cfg: the config of a run.
        overridden_keys: keys that the user has set on the command line.
    """
    check_values(cfg, TABLE)
    defaults = default_config()
    check_unused(cfg, defaults, _unused(cfg, defaults))
    check_overwritten(overridden_keys, _overwritten(cfg))
    check_engine(cfg)
    check_combinations(cfg)


def _unused(cfg: CfgNode, defaults: CfgNode) -> dict[str, str]:
    """Keys that a run with this data set, crop, test and schedule would not read."""
    c = cfg.CLASSIFICATION
    unused = {f"MODEL.{key}": _NETWORK for key in defaults.MODEL if key not in _READ_OF_MODEL}
    unused |= {f"INPUT.{key}": _PIXELS for key in defaults.INPUT if key != "FORMAT"}
    unused |= {f"DATASETS.{key}": _DATA for key in defaults.DATASETS}
    unused |= {f"DATALOADER.{key}": "all images are drawn equally often" for key in defaults.DATALOADER}
    del unused["DATALOADER.NUM_WORKERS"]
    unused |= {
        "TEST.AUG": "CLASSIFICATION.TEST.VIEWS says how an image is tested",
        "TEST.DETECTIONS_PER_IMAGE": "it is for detectors",
        "TEST.KEYPOINT_OKS_SIGMAS": "it is for detectors",
        "VIS_PERIOD": "it is for detectors",
        "SOLVER.NUM_DECAYS": "CLASSIFICATION.STEP_EPOCHS says where the learning rate falls",
        "SOLVER.REFERENCE_WORLD_SIZE": "SOLVER.IMS_PER_BATCH is of all processes together: set it, and "
        "SOLVER.SCALE_LR_FROM_BATCH scales the learning rate with it",
        "GLOBAL.HACK": "nothing reads it",
    }
    combinations = (
        ("CROP_AREA", c.CROP == "scale", "set CLASSIFICATION.CROP scale"),
        ("INTERPOLATION", c.NORMALISE != "zca", "zca whitens images that are resized bilinearly"),
        ("SHORT_SIDE", c.CROP == "short_side", "set CLASSIFICATION.CROP short_side"),
        ("PAD", c.CROP in ("pad", "reflect"), "set CLASSIFICATION.CROP pad or reflect"),
        ("TEST.SCALES", c.TEST.VIEWS == "dense", "set CLASSIFICATION.TEST.VIEWS dense"),
        ("TEST.SIZE", c.TEST.VIEWS != "dense", "a dense test takes whole images"),
        ("DOWNLOAD", c.DATASET in ("cifar10", "cifar100", "svhn"), "only cifar10, cifar100 and svhn can be fetched"),
        ("CLASS_LIST", c.DATASET in ("folder", "webdataset"), "set CLASSIFICATION.DATASET folder or webdataset"),
        ("SHARDS", c.DATASET == "webdataset", "set CLASSIFICATION.DATASET webdataset"),
        ("WARMUP_EPOCHS", c.EPOCHS, "with CLASSIFICATION.EPOCHS 0, SOLVER.WARMUP_ITERS is the warm-up"),
        ("PLATEAU_PATIENCE", cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU, f"set SOLVER.LR_SCHEDULER_NAME {PLATEAU}"),
    )
    return unused | {f"CLASSIFICATION.{key}": remedy for key, read, remedy in combinations if not read}


def _overwritten(cfg: CfgNode) -> dict[str, str]:
    """Keys that a run with this schedule fills in itself."""
    c = cfg.CLASSIFICATION
    overwritten = {"CLASSIFICATION.CLASSES": "the classes come from the data; CLASSIFICATION.CLASS_LIST names a part"}
    if c.EPOCHS:
        overwritten |= dict.fromkeys(("SOLVER.MAX_ITER", "SOLVER.STEPS"), _WITH_EPOCHS)
    else:
        overwritten["CLASSIFICATION.STEP_EPOCHS"] = (
            "with CLASSIFICATION.EPOCHS 0, SOLVER.STEPS says where the rate falls"
        )
    if c.EPOCHS and c.WARMUP_EPOCHS:
        overwritten["SOLVER.WARMUP_ITERS"] = "CLASSIFICATION.WARMUP_EPOCHS sets it"
    if c.EVAL_EPOCHS:
        remedy = "CLASSIFICATION.EVAL_EPOCHS sets it; EVAL_EPOCHS 0 leaves it as it is"
        overwritten |= dict.fromkeys(("TEST.EVAL_PERIOD", "SOLVER.CHECKPOINT_PERIOD"), remedy)
    return overwritten
