"""Reads data by name. The name of data says where the data are, and which split to read.

DIR:SPLIT            a folder of VOC, COCO or YOLO layout, e.g. data/bccd:train
DIR                  a folder of images without annotations, to predict on
FILE.json            an annotation file of COCO, with the images in one of the usual folders (see `coco.find_images`)
FILE.json:IMAGE_DIR  an annotation file of COCO, with the images in IMAGE_DIR
FILE.yaml:SPLIT      a data.yaml of YOLO
coco_2017_train …    detectron2's name of a split of COCO or VOC, which lies in $DETECTRON2_DATASETS or ./datasets
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.coco import COCOReader
from detection.data.layouts.defects import Defects
from detection.data.layouts.images import ImageReader, list_images
from detection.data.layouts.reader import Reader, ReaderOptions, Source
from detection.data.layouts.voc import VOCReader
from detection.data.layouts.yolo import YOLOReader

from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO

# In the order in which layouts are tried: the first reader that finds splits in a folder reads the folder.
READERS: tuple[Reader, ...] = (VOCReader(), COCOReader(), YOLOReader(), ImageReader())
# Names of the splits that serve each role. The first name that a folder has is taken.
_ROLES = {"train": ("train", "trainval"), "test": ("test", "val"), "val": ("val", "test")}


def find_split(path: str, role: str, option: str) -> str:
    """The name of the data that a user's option means.

    Args:
        path: the value of the option: a folder, whose split is chosen by `role`, or a name of data (see the module).
        role: the use of the data: "train", "val" or "test".
        option: the option, for messages, such as "--val".

    Returns:
        the name of the split, if `path` is a folder with splits. `path`, if `path` is no folder, or if `path` is a
        folder of images without annotations and `role` is not "train".

    Raises:
        InputError: `path` is a folder without a split for the role.
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
            f"{option}: {path} has no split {_ROLES[role][0]}, only {', '.join(splits)}; name a split as {path}:SPLIT"
        )
    layouts = [reader.layout for reader in READERS if not isinstance(reader, ImageReader)]
    raise InputError(f"{option}: {path} holds neither {' nor '.join(layouts)}")


def data_splits(root: str) -> tuple[str, str]:
    """Names of the training data and the test data in a folder.

    The training data are the split `train`, or `trainval` if the folder has no `train`. The test data are the split
    `test`, or `val` if the folder has no `test`.

    Raises:
        InputError: the folder is missing, or has no layout that a reader knows, or lacks such a split.
    """
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    train, test = (find_split(root, role, "--data") for role in ("train", "test"))
    return train, test


def splits_of(folder: Path) -> dict[str, str]:
    """Name of a split -> name of its data (see the module). Empty if no reader finds splits in the folder."""
    return next((splits for reader in READERS if (splits := reader.splits(folder))), {})


def read_source(name: str, defects: Defects, options: ReaderOptions) -> Source:
    """Reads the data of a name.

    Args:
        name: name of data, see the module.
        defects: gets the defects that were mended.
        options: the config's settings for readers.

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
    names_one = part or not splits  # a folder with splits needs the name of a split
    reader = next((reader for reader in READERS if names_one and reader.recognises(root, part)), None)
    source = reader and reader.read(root, part, defects, options)
    if source and source.records:
        return source
    if not root.is_dir():
        raise InputError(f"{name}: no such data set, folder or .json file; check the name")
    raise InputError(f"{name}: name the split as {path}:SPLIT; the splits are {', '.join(splits) or 'none'}")


def _path_of_builtin(name: str) -> str:
    """PATH:PART of the data if `name` is detectron2's name of a split of COCO or VOC; otherwise `name`."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    if name in _PREDEFINED_SPLITS_COCO["coco"]:
        images, annotations = _PREDEFINED_SPLITS_COCO["coco"][name]
        return f"{root / annotations}:{root / images}"
    voc = re.fullmatch(r"voc_(2007|2012)_(\w+)", name)
    return f"{root / f'VOC{voc.group(1)}'}:{voc.group(2)}" if voc else name
