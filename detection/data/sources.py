"""Names of data -> records, whatever the layout.

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
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from detection.data.coco import load_coco
from detection.data.defects import Defects
from detection.data.images import list_images, load_images
from detection.data.voc import is_voc, load_voc, voc_splits
from detection.data.yolo import find_yolo, load_yolo, yolo_splits

from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO

# What a split may be called, best first.
_ROLES = {"train": ("train", "trainval"), "test": ("test", "val"), "val": ("val", "test")}


@dataclass
class Source:
    """What was read: dataset dicts whose annotations carry the class name as `category`, and the class names.

    Attributes:
        declared: the data lists its classes; else they are those of its boxes, and a rare one may just not occur.
        category_ids: of COCO's JSON, id by class name.
    """

    records: list[dict]
    classes: list[str]
    declared: bool = True
    category_ids: dict[str, int] | None = None

    @property
    def annotated(self) -> bool:
        return all("annotations" in r for r in self.records)


def find_split(path: str, role: str, option: str) -> str:
    """The name of the data for `role` ("train", "val" or "test") in what a user names: a folder, or a name already.

    Raises:
        InputError: it is a folder that has no such split.
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
    raise InputError(
        f"{option}: {path} holds neither VOC layout (Annotations, JPEGImages, ImageSets/Main/train.txt and val.txt or "
        "test.txt) nor COCO layout (annotations/*train*.json and *val*.json or *test*.json) nor YOLO's (data.yaml)"
    )


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
    """Split -> name of its data; empty where the folder is of no layout."""
    if is_voc(folder):
        return {split: f"{folder}:{split}" for split in voc_splits(folder)}
    if splits := _coco_splits(folder):
        return splits
    if file := find_yolo(folder):
        return {split: f"{file}:{split}" for split in yolo_splits(file)}
    return {}


def _coco_splits(folder: Path) -> dict[str, str]:
    """Split -> its annotation file, of annotations/instances_train2017.json, annotations/val.json and the like."""
    splits = {}
    for path in sorted((folder / "annotations").glob("*.json")):
        match = re.fullmatch(r"(?:instances_)?(train|trainval|val|test)(?:\d{4})?", path.stem)
        if match:
            splits[match.group(1)] = str(path)
    return splits


def read_source(name: str, defects: Defects, first_pixel: int = 1) -> Source:
    """Reads data.

    Args:
        name: see the module.
        defects: filled with what was mended.
        first_pixel: number of the first pixel in VOC's XML, see `load_voc`.

    Raises:
        InputError: it is missing or broken; the message names the file.
    """
    path, _, part = _builtin(name).partition(":")
    if path != name.partition(":")[0] and not Path(path).exists():
        raise InputError(
            f"{name}: {path} is missing; set DETECTRON2_DATASETS to the folder that holds detectron2's data sets, "
            "or name data of your own with --data DIR"
        )
    if path.endswith(".json"):
        return Source(*load_coco(Path(path), Path(part) if part else None, defects))
    if path.endswith((".yaml", ".yml")):
        return Source(*load_yolo(Path(path), part, defects))
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{name}: no such data set, folder or .json file")
    if is_voc(root) and part:
        return Source(*load_voc(root, part, defects, first_pixel), declared=False)
    splits = splits_of(root)
    if part in splits:
        return read_source(splits[part], defects, first_pixel)
    if not part and not splits and (records := load_images(root)):
        return Source(records, [])
    raise InputError(f"{name}: name the split as {path}:SPLIT; there are {', '.join(splits) or 'none'}")


def _builtin(name: str) -> str:
    """detectron2's names of COCO and VOC data as paths; anything else as it is."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    if name in _PREDEFINED_SPLITS_COCO["coco"]:
        images, annotations = _PREDEFINED_SPLITS_COCO["coco"][name]
        return f"{root / annotations}:{root / images}"
    voc = re.fullmatch(r"voc_(2007|2012)_(\w+)", name)
    return f"{root / f'VOC{voc.group(1)}'}:{voc.group(2)}" if voc else name
