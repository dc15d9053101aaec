"""Names of data -> the data, whatever their layout.

DIR:SPLIT            VOC, COCO or YOLO layout, e.g. data/bccd:train
DIR                  a folder of images without annotations, to predict on
FILE.json            COCO JSON, the images beside it
FILE.json:IMAGE_DIR  COCO JSON, the images in that folder
FILE.yaml:SPLIT      YOLO's data.yaml
coco_2017_train …    detectron2's names of COCO and VOC, below $DETECTRON2_DATASETS or ./datasets
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from backbones.errors import InputError
from detection.data.coco import COCOReader
from detection.data.defects import Defects
from detection.data.images import ImageReader, list_images
from detection.data.readers import Reader, ReaderOptions, Source
from detection.data.voc import VOCReader
from detection.data.yolo import YOLOReader

from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO

# In the order in which layouts are tried: the first reader that finds splits in a folder reads the folder.
READERS: tuple[Reader, ...] = (VOCReader(), COCOReader(), YOLOReader(), ImageReader())
# What a split may be called, best first, by what the split is for.
_ROLES = {"train": ("train", "trainval"), "test": ("test", "val"), "val": ("val", "test")}


def find_split(path: str, role: str, option: str) -> str:
    """The name of the data for a role, in what a user names: a folder, or a name of data already.

    Args:
        path: what the user names.
        role: what the data are for: "train", "val" or "test".
        option: the option that names `path`, for messages.

    Raises:
        InputError: `path` is a folder that has no such split.
    """
    folder = Path(path)
    if not folder.is_dir():
        return path
    splits = splits_of(folder)
    for name in _ROLES[role]:
        if name in splits:
            return splits[name]
    if role != "train" and not splits and list_images(folder):
        return path
    if splits:
        raise InputError(
            f"{option}: {path} has no split {_ROLES[role][0]}, it has {', '.join(splits)}; name one as {path}:SPLIT"
        )
    layouts = [reader.layout for reader in READERS if not isinstance(reader, ImageReader)]
    raise InputError(f"{option}: {path} holds neither {' nor '.join(layouts)}")


def data_splits(root: str) -> tuple[str, str]:
    """Names of the training and the test data (`test`, else `val`) in a folder.

    Raises:
        InputError: the folder is missing or of no layout that is known.
    """
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    train, test = (find_split(root, role, "--data") for role in ("train", "test"))
    return train, test


def splits_of(folder: Path) -> dict[str, str]:
    """The name of the data by the name of the split; empty where no reader finds splits in the folder."""
    return next((splits for reader in READERS if (splits := reader.splits(folder))), {})


def read_source(name: str, defects: Defects, options: ReaderOptions) -> Source:
    """Reads data.

    Args:
        name: see the module.
        defects: is filled with what was mended.
        options: what the config says about reading.

    Raises:
        InputError: the data are missing or broken; the message names the file.
    """
    path, _, part = _path_of_builtin(name).partition(":")
    if path != name.partition(":")[0] and not Path(path).exists():
        raise InputError(
            f"{name}: {path} is missing; set DETECTRON2_DATASETS to the folder that holds detectron2's data sets, "
            "or name data of your own with --data DIR"
        )
    root = Path(path)
    splits = splits_of(root) if root.is_dir() else {}
    if part in splits and splits[part] != name:
        return read_source(splits[part], defects, options)
    clear = part or not splits  # of several splits, the name must say which
    reader = next((reader for reader in READERS if clear and reader.recognises(root, part)), None)
    source = reader and reader.read(root, part, defects, options)
    if source and source.records:
        return source
    if not root.is_dir():
        raise InputError(f"{name}: no such data set, folder or .json file")
    raise InputError(f"{name}: name the split as {path}:SPLIT; there are {', '.join(splits) or 'none'}")


def _path_of_builtin(name: str) -> str:
    """PATH:PART of detectron2's names of COCO and VOC data; any other name as it is."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    if name in _PREDEFINED_SPLITS_COCO["coco"]:
        images, annotations = _PREDEFINED_SPLITS_COCO["coco"][name]
        return f"{root / annotations}:{root / images}"
    voc = re.fullmatch(r"voc_(2007|2012)_(\w+)", name)
    return f"{root / f'VOC{voc.group(1)}'}:{voc.group(2)}" if voc else name
