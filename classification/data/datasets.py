"""Opens data sets: the function with the name in CLASSIFICATION.DATASET gives the images of train or val."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from classification.data.images import ArrayImages, FileImages, LabelledImages
from classification.data.shards import Shards

import numpy as np
import torchvision.datasets
from detectron2.config import CfgNode
from detectron2.utils import comm
from fvcore.common.registry import Registry

DATASETS = Registry("classification data set")
DATASETS.__doc__ = "Functions (cfg, split) -> LabelledImages or Shards, where split is `train` or `val`."

_opened: dict[tuple, LabelledImages | Shards] = {}


def open_split(cfg: CfgNode, split: str) -> LabelledImages | Shards:
    """The images of a split. Their labels are numbers in the order of CLASSIFICATION.CLASSES, if CLASSES is filled.

    A second call with the same keys returns the same object.

    Args:
        cfg: the config.
        split: `train` or `val`.

    Raises:
        InputError: DATASET is unknown, DATA does not hold the data, or the data have another layout.
    """
    c = cfg.CLASSIFICATION
    if c.DATASET not in DATASETS:
        raise InputError(
            f"CLASSIFICATION.DATASET: {c.DATASET!r} is none of {', '.join(sorted(k for k, _ in DATASETS))}"
        )
    if not c.DATA:
        raise InputError("--data: name the folder of the data, such as one with train/CLASS/*.jpg and val/CLASS/*.jpg")
    key = (split, c.DATASET, c.DATA, c.CLASS_LIST, tuple(c.CLASSES), str(c.SHARDS))
    if key not in _opened:  # listing a million files takes minutes, and every evaluation asks
        images = _opened[key] = DATASETS.get(c.DATASET)(cfg, split)
        # `prepare` asks for the classes first, fills them into the config, and asks again.
        _opened.setdefault((*key[:4], tuple(images.classes), key[5]), images)
    return _opened[key]


def class_list(cfg: CfgNode) -> tuple[str, ...]:
    """The names of classes in the file CLASS_LIST; empty if CLASS_LIST is empty.

    Raises:
        InputError: the file cannot be read, the file is empty, or a name comes twice.
    """
    path = cfg.CLASSIFICATION.CLASS_LIST
    if not path:
        return ()
    try:
        names = tuple(line.strip() for line in Path(path).read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"CLASSIFICATION.CLASS_LIST: {path}: cannot be read ({e})") from e
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not names or twice:
        raise InputError(f"CLASSIFICATION.CLASS_LIST: {path}: " + (f"{twice[0]} comes twice" if twice else "is empty"))
    return names


def class_names(cfg: CfgNode, *, eval_only: bool = False) -> tuple[str, ...]:
    """Names of the classes of the data, in the order of the labels.

    Args:
        cfg: the config.
        eval_only: only val is opened. Otherwise train and val must have the same classes.

    Raises:
        InputError: train and val have different classes, and no CLASS_LIST names the classes to use.
    """
    splits = ("val",) if eval_only else ("val", "train")
    classes = {split: open_split(cfg, split).classes for split in splits}
    train, val = classes.get("train", classes["val"]), classes["val"]
    if train != val and not class_list(cfg):
        raise InputError(
            f"--data: classes of {cfg.CLASSIFICATION.DATA} differ: only in train {sorted(set(train) - set(val))}, "
            f"only in val {sorted(set(val) - set(train))}; name the classes to use in CLASSIFICATION.CLASS_LIST"
        )
    return train


def split_folder(root: str, split: str) -> Path:
    """The folder of a split: root/train, or root/val (root/test if there is no root/val).

    Raises:
        InputError: there is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    for name in ("val", "test") if split == "val" else (split,):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    raise InputError(f"--data: {root} has no folder {split}/; put the images in train/CLASS/ and val/CLASS/")


@DATASETS.register()
def folder(cfg: CfgNode, split: str) -> LabelledImages:
    """Images in DATA/train/CLASS/ and DATA/val/CLASS/ (or test/): ImageNet-1K, 5K and 22K, and your own images."""
    return FileImages.of_folder(split_folder(cfg.CLASSIFICATION.DATA, split), _wanted_classes(cfg))


def _wanted_classes(cfg: CfgNode) -> tuple[str, ...] | None:
    """The classes to read, in order; None for every class that the folder holds."""
    return tuple(cfg.CLASSIFICATION.CLASSES) or class_list(cfg) or None


@DATASETS.register()
def imagenet(cfg: CfgNode, split: str) -> LabelledImages:
    """ImageNet-1K from the archives of ILSVRC 2012 in DATA. torchvision unpacks the archives in DATA the first time.

    The archives are ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar. The names of the
    classes are WordNet ids.
    """
    images = _torchvision(cfg, torchvision.datasets.ImageNet, split=split)
    return FileImages(images, images.wnids)


@DATASETS.register()
def cifar10(cfg: CfgNode, split: str) -> LabelledImages:
    """CIFAR-10 in its authors' format for Python: DATA/cifar-10-batches-py/."""
    return _cifar(cfg, torchvision.datasets.CIFAR10, split)


@DATASETS.register()
def cifar100(cfg: CfgNode, split: str) -> LabelledImages:
    """CIFAR-100 in its authors' format for Python: DATA/cifar-100-python/."""
    return _cifar(cfg, torchvision.datasets.CIFAR100, split)


def _cifar(cfg: CfgNode, reader: type, split: str) -> LabelledImages:
    images = _torchvision(cfg, reader, train=split == "train", download=cfg.CLASSIFICATION.DOWNLOAD)
    return ArrayImages(images.data, images.targets, images.classes)


@DATASETS.register()
def svhn(cfg: CfgNode, split: str) -> LabelledImages:
    """SVHN's cropped digits: train is `train` and `extra` (604,388 images, as for Wide ResNet), val is `test`."""
    readers = [
        _torchvision(cfg, torchvision.datasets.SVHN, split=name, download=cfg.CLASSIFICATION.DOWNLOAD)
        for name in (("train", "extra") if split == "train" else ("test",))
    ]
    images = np.concatenate([reader.data for reader in readers])
    labels = np.concatenate([reader.labels for reader in readers])
    return ArrayImages(images, labels, [str(digit) for digit in range(10)])


def _torchvision(cfg: CfgNode, reader: type, **options):
    """Opens one of torchvision's data sets, in the main process first, which may unpack or download files."""

    def read():
        return reader(cfg.CLASSIFICATION.DATA, **options)

    try:
        images = read() if comm.is_main_process() else None
        comm.synchronize()
        return images or read()
    except (RuntimeError, OSError) as e:
        hint = "" if cfg.CLASSIFICATION.DOWNLOAD or "download" not in options else "; --download fetches it"
        raise InputError(f"--data: {cfg.CLASSIFICATION.DATA}: {' '.join(str(e).split())}{hint}") from e


@DATASETS.register()
def webdataset(cfg: CfgNode, split: str) -> Shards:
    """WebDataset shards (CLASSIFICATION.SHARDS): tar files with KEY.jpg (or .jpeg, .png, .webp) and KEY.cls."""
    shards = cfg.CLASSIFICATION.SHARDS
    pattern, images = (shards.TRAIN, shards.TRAIN_IMAGES) if split == "train" else (shards.VAL, shards.VAL_IMAGES)
    if not pattern:
        raise InputError(
            f"CLASSIFICATION.SHARDS.{split.upper()}: name the shards, such as {split}-{{000000..000099}}.tar"
        )
    classes = class_list(cfg)
    if not classes:
        raise InputError(
            "CLASSIFICATION.CLASS_LIST: shards hold classes as numbers; give a text file with the names of the classes"
        )
    return Shards(cfg.CLASSIFICATION.DATA, pattern, images, classes)
