"""Reads data by name. The name of data says where the data are, and which split to read.

DIR:SPLIT            a folder that a reader reads, e.g. data/bccd:train
DIR                  such a folder without splits; or a folder of images without annotations, to predict on
FILE.json            an annotation file of COCO, with the images in one of the usual folders (see `coco.find_images`)
FILE.json:IMAGE_DIR  an annotation file of COCO, with the images in IMAGE_DIR
FILE.yaml:SPLIT      a data.yaml of YOLO
FILE.csv, FILE.txt   a table of boxes; FILE.csv:IMAGE_DIR if its images are elsewhere
FILE.split.json      a part of other data, as a run that had to split its data has written it
coco_2017_train …    detectron2's name of a split of COCO or VOC, which lies in $DETECTRON2_DATASETS or ./datasets
imagenet_det_train … a split of ImageNet DET, which lies there in the folder ILSVRC
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.coco import COCOReader
from detection.data.layouts.defects import Defects
from detection.data.layouts.ilsvrc.det import ImageNetDETReader
from detection.data.layouts.images import ImageReader, list_images
from detection.data.layouts.objects.createml import CreateMLReader
from detection.data.layouts.objects.labelme import LabelMeReader
from detection.data.layouts.objects.labelstudio import LabelStudioReader
from detection.data.layouts.objects.table import TableReader
from detection.data.layouts.objects.via import VIAReader
from detection.data.layouts.reader import Reader, ReaderOptions, Source
from detection.data.layouts.readings import Reading, choose
from detection.data.layouts.split_list import SUFFIX, part_of, read_split_list
from detection.data.layouts.unread import unread_annotations
from detection.data.layouts.voc import VOCReader
from detection.data.layouts.yolo.reader import YOLOReader

from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO

# A folder is read by the one reader that finds splits in the folder; a file by the first reader that recognises it.
READERS: tuple[Reader, ...] = (
    ImageNetDETReader(),
    VOCReader(),
    VIAReader(),
    CreateMLReader(),
    LabelMeReader(),
    LabelStudioReader(),
    COCOReader(),
    YOLOReader(),
    TableReader(),
    ImageReader(),
)
# Names of the splits that serve each role. The first name that a folder has is taken.
_ROLES = {"train": ("train", "trainval", "all"), "test": ("test", "val", "all"), "val": ("val", "test", "all")}


def find_split(path: str, role: str, option: str, layout: str = "") -> str:
    """The name of the data that a user's option means.

    Args:
        path: the value of the option: a folder, whose split is chosen by `role`, or a name of data (see the module).
        role: the use of the data: "train", "val" or "test".
        option: the option, for messages, such as "--val".
        layout: name of the reader that reads the folder; "" if the folder's content decides.

    Returns:
        the name of the split, if `path` is a folder with splits. `path`, if `path` is no folder, or if `path` is a
        folder of images without annotations and `role` is not "train".

    Raises:
        InputError: `path` is a folder without a split for the role, or more than one reading of the folder is possible.
    """
    folder = Path(path)
    if not folder.is_dir():
        return path
    splits = splits_of(folder, layout)
    for name in _ROLES[role]:
        if name in splits:
            return splits[name]
    if splits:
        raise InputError(
            f"{option}: {path} has no split {_ROLES[role][0]}, only {', '.join(splits)}; name a split as {path}:SPLIT"
        )
    if role != "train" and list_images(folder):
        return path
    raise InputError(f"{option}: {path} holds no annotations that can be read. {_expected()}")


def data_splits(root: str, layout: str = "") -> tuple[str, str]:
    """Names of the training data and the test data in a folder.

    The training data are the split `train`, or `trainval` if the folder has no `train`, or all data if nobody has split
    them. The test data are the split `test`, or `val` if the folder has no `test`, or "" if it has neither.

    Args:
        root: the folder.
        layout: name of the reader that reads the folder; "" if the folder's content decides.

    Raises:
        InputError: the folder is missing, or has no layout that a reader knows, or has no training data.
    """
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    train, splits = find_split(root, "train", "--data", layout), splits_of(Path(root), layout)
    return train, next((splits[name] for name in ("test", "val") if name in splits), "")


def splits_of(folder: Path, layout: str = "") -> dict[str, str]:
    """Name of a split -> name of its data (see the module). Empty for a folder without annotations.

    Args:
        folder: the folder.
        layout: name of the reader that reads the folder, such as "voc"; "" if the folder's content decides.

    Raises:
        InputError: more than one reading of the folder is possible, or a file looks like annotations but no reader
            reads the file, or there is no reader `layout`.
    """
    reading = reading_of(folder, layout)
    # Only the name of the folder, not that of a file, says that there is another reading with the same boxes.
    return {split: f"{folder}:{split}" for split in reading.splits} if reading.agrees else reading.splits


def reading_of(folder: Path, layout: str = "") -> Reading:
    """Which reader reads a folder, and the splits that the reader finds. The arguments are those of `splits_of`.

    Raises:
        InputError: as `splits_of`.
    """
    readings: dict[Reader, dict[str, str] | InputError] = {}
    # ILSVRC's folders are unmistakable, and VOC's reader would read their XML files, too.
    ilsvrc = ImageNetDETReader().splits(folder)
    if ilsvrc and layout in ("", ImageNetDETReader.name):
        return Reading(ImageNetDETReader.name, ilsvrc)
    for reader in _readers(layout):
        try:
            splits: dict[str, str] | InputError = reader.splits(folder)
        except InputError as e:
            splits = e
        if splits:
            readings[reader] = splits
    if len(readings) > 1:
        return choose(folder, readings)
    for reader, reading in readings.items():
        if isinstance(reading, InputError):
            raise reading
        return Reading(reader.name, reading)
    file = None if layout == ImageReader.name else unread_annotations(folder)
    if file:
        raise InputError(
            f"{file}: looks like annotations, but {f'--format {layout}' if layout else 'every reader'} passes over the "
            f"file. {_expected()} If the images of {folder} are to be taken without annotations: --format images"
        )
    return Reading()


def _expected() -> str:
    """What a folder may hold."""
    layouts = [f"{reader.name}: {reader.layout}" for reader in READERS if not isinstance(reader, ImageReader)]
    return f"Data can be {'; '.join(layouts)}."


def _readers(layout: str) -> tuple[Reader, ...]:
    """All readers, or the one whose name is `layout`."""
    readers = tuple(reader for reader in READERS if layout in ("", reader.name))
    if not readers:
        raise InputError(f"--format: {layout!r} is none of {', '.join(reader.name for reader in READERS)}")
    return readers


def read_source(name: str, defects: Defects, options: ReaderOptions) -> Source:
    """Reads the data of a name.

    Args:
        name: name of data, see the module.
        defects: gets the defects that were mended.
        options: the config's settings for readers.

    Raises:
        InputError: the data are missing or broken; the message names the file.
    """
    if name.endswith(SUFFIX):
        whole, images = read_split_list(Path(name))
        return part_of(read_source(whole, defects, options), whole, images, Path(name))
    path, _, part = _path_of_builtin(name).partition(":")
    if path != name.partition(":")[0] and not Path(path).exists():
        raise InputError(
            f"{name}: {path} is missing; set DETECTRON2_DATASETS to the folder that holds detectron2's data sets, "
            "or name data of your own with --data DIR"
        )
    root = Path(path)
    reading = reading_of(root, options.format) if root.is_dir() else Reading()
    splits = reading.splits
    part = part or ("all" if "all" in splits else "")
    if part in splits and splits[part] not in (name, f"{name}:all"):
        return replace(read_source(splits[part], defects, options), agrees=reading.agrees)
    names_one = part or not splits  # a folder with splits needs the name of a split
    # --format chooses how folders are read; a file says by its content what it is.
    readers = _readers(reading.reader or options.format) if root.is_dir() else READERS
    reader = next((reader for reader in readers if names_one and reader.recognises(root, part)), None)
    source = reader and reader.read(root, part, defects, options)
    if source and source.records:
        return replace(source, layout=reader.name, agrees=reading.agrees)
    if not root.is_dir():
        raise InputError(f"{name}: no such data set, folder or annotation file; check the name")
    if splits and not part:
        raise InputError(f"{name}: name the split as {path}:SPLIT; the splits are {', '.join(splits)}")
    if part:
        raise InputError(
            f"{name}: {path} has no images of a split {part}; its splits are {', '.join(splits) or 'none'}"
        )
    raise InputError(f"{name}: holds neither images nor annotations that can be read. {_expected()}")


def _path_of_builtin(name: str) -> str:
    """PATH:PART of the data if `name` is a name of a split of COCO, VOC or ImageNet DET; otherwise `name`."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    if name in _PREDEFINED_SPLITS_COCO["coco"]:
        images, annotations = _PREDEFINED_SPLITS_COCO["coco"][name]
        return f"{root / annotations}:{root / images}"
    voc = re.fullmatch(r"voc_(2007|2012)_(\w+)", name)
    if det := re.fullmatch(r"imagenet_det_(train|val|val1|val2|test)", name):
        return f"{root / 'ILSVRC'}:{det.group(1)}"
    return f"{root / f'VOC{voc.group(1)}'}:{voc.group(2)}" if voc else name
