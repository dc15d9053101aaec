"""Reads YOLO's label files: a text file for each image, with or without a data.yaml that says the splits and classes.

A line of a label file is one object: `class x_centre y_centre width height`, or `class x y x y …` for a polygon.
`class` is the index of the class. The other numbers are fractions of the image's width and height, from 0 to 1. An
image without a label file has no objects.
"""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import LISTED_TWICE, Defects, clean_box
from detection.data.layouts.files import read_text
from detection.data.layouts.images import check_absent, image_record, list_images
from detection.data.layouts.reader import Reader, ReaderOptions, Source, box_annotation
from detection.data.layouts.yolo.darknet import DarknetFolder
from detection.data.layouts.yolo.data_yaml import DataYAML, find_yaml
from detection.data.layouts.yolo.labels import Classes, LabelFiles

import numpy as np

# Rounding leaves corners a little below 0 or above 1. Corners that are further outside than this must be pixels.
_TOLERANCE = 0.5
# Characters of a broken line that a message shows.
_SHOWN = 100


class YOLOReader(Reader):
    """Reads YOLO's label files, described by a data.yaml or by darknet's obj.names, obj.data and classes.txt."""

    name = "yolo"
    layout = "YOLO's label files (a data.yaml, or a list of classes such as classes.txt or obj.names)"
    suffixes = (".yaml", ".yml")

    def splits(self, folder: Path) -> dict[str, str]:
        data = find_yaml(folder)
        if data:
            return {split: f"{data.file}:{split}" for split in data.splits()}
        return {split: f"{folder}:{split}" for split in DarknetFolder(folder).splits()}

    def recognises(self, path: Path, part: str) -> bool:
        if path.is_dir():
            return bool(part) and part in DarknetFolder(path).splits()
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_yolo(path, part, defects, options)


def load_yolo(path: Path, split: str, defects: Defects, options: ReaderOptions | None = None) -> Source:
    """Reads one split.

    Args:
        path: a data.yaml (see data_yaml.py), or a folder without such a file (see darknet.py).
        split: name of the split, such as "train".
        defects: gets the defects that were mended.
        options: the config's settings for readers.

    Returns:
        the data, with the classes in the order of their indices. If no image of a test split has a label file, the
        dataset dicts have no annotations.

    Raises:
        InputError: a file is missing or broken, or no image has a label file; the message names the file, and the line
            of a label file.
    """
    data = DarknetFolder(path) if path.is_dir() else DataYAML(path)
    images = data.images(split)
    if len(set(images)) < len(images):
        defects.note(LISTED_TWICE, path.name)
    options = options or ReaderOptions()
    images = list(dict.fromkeys(images))
    absent = {image for image in images if not image.is_file()}
    check_absent(sorted(absent), len(images), path, defects, options)
    images = [image for image in images if image not in absent]
    labels = LabelFiles(images, data.root)
    if not labels.found:
        if split == "test":
            return Source([image_record(image) for image in images], data.classes().names)
        raise InputError(
            f"{path}: {split}: none of its {len(images)} images has a label file; for {images[0]}, these were sought: "
            f"{', '.join(map(str, labels.sought(images[0])))}"
        )
    if not data.is_list(split):
        alone = labels.without_image(list_images(data.root))
        check_absent([f"the image of {label}" for label in alone], len(images) + len(alone), path, defects, options)
    records, names = [], {}
    for image in images:
        label, record = labels.of(image), image_record(image)
        classes = data.classes(label)
        names |= dict.fromkeys(classes.names)
        record["annotations"] = _annotations(label, record, classes, defects) if label.is_file() else []
        records.append(record)
    return Source(records, list(names))


def _annotations(labels: Path, record: dict, classes: Classes, defects: Defects) -> list[dict]:
    """The annotations of a label file.

    Args:
        labels: the label file.
        record: the dataset dict of the image.
        classes: the classes of the label file.
        defects: gets the defects of the boxes.
    """
    annotations, size = [], [record["width"], record["height"]]
    for number, line in enumerate(read_text(labels).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{labels}:{number}"
        category, corners = _parse(line, classes, where)
        box = clean_box((np.array(corners) * size * 1.0).reshape(-1).tolist(), *size, defects, where)
        if box is not None:
            annotations.append(box_annotation(box, category))
    return annotations


def _parse(line: str, classes: Classes, where: str) -> tuple[str, np.ndarray]:
    """Reads a line of a label file.

    Args:
        line: see the module.
        classes: the classes of the label file.
        where: file and line number, for messages.

    Returns:
        the name of the class, and the box, ((x0, y0), (x1, y1)), in fractions of the image's width and height.
    """
    shown, names = repr(line.strip()[:_SHOWN]), classes.names
    try:
        index, *numbers = line.split()
        values = np.array(numbers, dtype=float)
        category = names[int(float(index))] if float(index) >= 0 else None
    except (ValueError, IndexError, OverflowError) as e:
        raise InputError(
            f"{where}: {shown} is not `class x y width height` with the classes 0 to {len(names) - 1} of {classes.file}"
        ) from e
    if category is None or len(values) < 4 or (len(values) > 5 and len(values) % 2):
        raise InputError(f"{where}: {shown} is neither `class x y width height` nor a polygon")
    if len(values) <= 5:  # a fifth number is the confidence of a detection, which is left out
        centre, size = values[:2], values[2:4]
        box = np.stack([centre - size / 2, centre + size / 2])
    else:
        corners = values.reshape(-1, 2)
        box = np.stack([corners.min(axis=0), corners.max(axis=0)])
    if np.isfinite(box).all() and (box.min() < -_TOLERANCE or box.max() > 1 + _TOLERANCE):
        raise InputError(f"{where}: {shown} is in pixels; YOLO's numbers are fractions of the image, 0 to 1")
    return category, box
