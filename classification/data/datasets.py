"""Data sets by name: cfg.CLASSIFICATION.DATASET -> its images, split by split."""

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
    """The images of a split, with labels in the order of CLASSIFICATION.CLASSES where that is filled.

    Raises:
        InputError: DATASET is unknown, or the data is not where DATA says, or not as it must be.
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
        _opened[key] = DATASETS.get(c.DATASET)(cfg, split)
    return _opened[key]


def class_list(cfg: CfgNode) -> tuple[str, ...]:
    """The names in CLASS_LIST; empty where it is not given.

    Raises:
        InputError: there is no such file, it is empty, or a name comes twice.
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
    """Names of the classes: those of val, and the same in train, which evaluation alone does not need.

    Raises:
        InputError: train and val have different classes, and no CLASS_LIST says which count.
    """
    splits = ("val",) if eval_only else ("val", "train")
    classes = {split: open_split(cfg, split).classes for split in splits}
    train, val = classes.get("train", classes["val"]), classes["val"]
    if train != val and not class_list(cfg):
        raise InputError(
            f"--data: classes of {cfg.CLASSIFICATION.DATA} differ: only in train {sorted(set(train) - set(val))}, "
            f"only in val {sorted(set(val) - set(train))}"
        )
    return train


def split_folder(root: str, split: str) -> Path:
    """The folder of a split: `train`, or `val` (`test` where there is no `val`).

    Raises:
        InputError: there is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    for name in ("val", "test") if split == "val" else (split,):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    raise InputError(f"--data: {root} has no folder {split}/; it must hold train/CLASS/*.jpg and val/CLASS/*.jpg")


@DATASETS.register()
def folder(cfg: CfgNode, split: str) -> LabelledImages:
    """DATA/train/CLASS/* and DATA/val/CLASS/* (or test/): ImageNet-1K, its 5K and 22K, and anyone's own images."""
    return FileImages.of_folder(split_folder(cfg.CLASSIFICATION.DATA, split), _known_classes(cfg))


def _known_classes(cfg: CfgNode) -> tuple[str, ...] | None:
    return tuple(cfg.CLASSIFICATION.CLASSES) or class_list(cfg) or None


@DATASETS.register()
def imagenet(cfg: CfgNode, split: str) -> LabelledImages:
    """ImageNet-1K from the archives of ILSVRC 2012 in DATA, which torchvision unpacks there the first time.

    ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar. Classes are WordNet ids.
    """
    images = _torchvision(cfg, torchvision.datasets.ImageNet, split=split)
    return FileImages(images, images.wnids)


@DATASETS.register()
def cifar10(cfg: CfgNode, split: str) -> LabelledImages:
    """CIFAR-10 as its authors publish it (cifar-10-batches-py)."""
    return _cifar(cfg, torchvision.datasets.CIFAR10, split)


@DATASETS.register()
def cifar100(cfg: CfgNode, split: str) -> LabelledImages:
    """CIFAR-100 as its authors publish it (cifar-100-python)."""
    return _cifar(cfg, torchvision.datasets.CIFAR100, split)


def _cifar(cfg: CfgNode, reader: type, split: str) -> LabelledImages:
    images = _torchvision(cfg, reader, train=split == "train", download=cfg.CLASSIFICATION.DOWNLOAD)
    return ArrayImages(images.data, images.targets, images.classes)


@DATASETS.register()
def svhn(cfg: CfgNode, split: str) -> LabelledImages:
    """SVHN's cropped digits: trained on `train` and `extra` (about 600,000, as Wide ResNet did), tested on `test`."""
    parts = [
        _torchvision(cfg, torchvision.datasets.SVHN, split=part, download=cfg.CLASSIFICATION.DOWNLOAD)
        for part in (("train", "extra") if split == "train" else ("test",))
    ]
    labels = np.concatenate([part.labels for part in parts])
    return ArrayImages(np.concatenate([part.data for part in parts]), labels, [str(digit) for digit in range(10)])


def _torchvision(cfg: CfgNode, reader: type, **options):
    """Opens one of torchvision's data sets, in the main process first: it may unpack or fetch files."""

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
    """WebDataset shards, CLASSIFICATION.SHARDS: tar files of KEY.jpg (or .jpeg, .png, .webp) and KEY.cls."""
    shards = cfg.CLASSIFICATION.SHARDS
    pattern, images = (shards.TRAIN, shards.TRAIN_IMAGES) if split == "train" else (shards.VAL, shards.VAL_IMAGES)
    if not pattern:
        raise InputError(
            f"CLASSIFICATION.SHARDS.{split.upper()}: name the shards, such as {split}-{{000000..000099}}.tar"
        )
    classes = class_list(cfg)
    if not classes:
        raise InputError("CLASSIFICATION.CLASS_LIST: shards hold numbers; name the file with the names of the classes")
    return Shards(cfg.CLASSIFICATION.DATA, pattern, images, classes)
