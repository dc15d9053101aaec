"""Reads data in YOLO's layout: a data.yaml, images/…, and a text file in labels/… for each image.

A line of a label file is one object: `class x_centre y_centre width height`, or `class x y x y …` for a polygon.
`class` is the index of the class. The other numbers are fractions of the image's width and height, from 0 to 1. An
image without a label file has no objects.
"""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import LISTED_TWICE, Defects, clean_box
from detection.data.layouts.files import IMAGE_SUFFIXES
from detection.data.layouts.images import image_size, list_images
from detection.data.layouts.reader import Reader, ReaderOptions, Source

import numpy as np
import yaml
from detectron2.structures import BoxMode

# Rounding leaves corners a little below 0 or above 1. Corners that are further outside than this must be pixels.
_TOLERANCE = 0.5


class YOLOReader(Reader):
    """Reads YOLO's layout: a data.yaml, images/…, labels/…"""

    name = "yolo"
    layout = "YOLO's (data.yaml)"
    suffixes = (".yaml", ".yml")

    def splits(self, folder: Path) -> dict[str, str]:
        file = find_yolo(folder)
        return {split: f"{file}:{split}" for split in yolo_splits(file)} if file else {}

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_yolo(path, part, defects)


def find_yolo(root: Path) -> Path | None:
    """The first YAML file of a folder, in order of file names, that has the key `names`; None without such a file."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if "names" in _read_yaml(path):
            return path
    return None


def yolo_splits(file: Path) -> list[str]:
    """Names of the splits in a data.yaml, out of train, val and test."""
    return [split for split in ("train", "val", "test") if _read_yaml(file).get(split)]


def load_yolo(file: Path, split: str, defects: Defects) -> Source:
    """Reads one split of a data.yaml.

    Args:
        file: the data.yaml. `names` has the names of the classes. Each split has a folder of images, a .txt file that
            lists images, or a list of such folders and files. These paths start from the folder `path`, or from
            the folder of the data.yaml if the file has no `path` or that folder does not exist.
        split: "train", "val" or "test".
        defects: gets the defects that were mended.

    Returns:
        the data, with the classes in the order of `names`.

    Raises:
        InputError: a file is missing or broken; the message names the file, and the line of a label file.
    """
    content = _read_yaml(file)
    names = content.get("names")
    if isinstance(names, dict):
        by_number = {int(k): v for k, v in names.items() if str(k).isdecimal()}
        names = [by_number[i] for i in range(len(names))] if sorted(by_number) == [*range(len(names))] else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"{file}: `names` must list the classes, or number them from 0 on")
    if split not in yolo_splits(file):
        raise InputError(f"{file}: has no split {split!r}; its splits are {', '.join(yolo_splits(file)) or 'none'}")
    root = (file.parent / str(content.get("path") or "")).resolve()
    if not root.is_dir():  # `path` is often a folder of the machine on which the data.yaml was written
        root = file.parent.resolve()
    sources = content[split] if isinstance(content[split], list) else [content[split]]
    images = [image for source in sources for image in _images(root, str(source), file)]
    if not images:
        raise InputError(f"{file}: {split}: there is no image in {', '.join(map(str, sources))}; correct the path")
    if len(set(images)) < len(images):
        defects.note(LISTED_TWICE, file.name)
    return Source([_read_record(image, names, defects) for image in dict.fromkeys(images)], list(names))


def _read_yaml(path: Path) -> dict:
    """The content of a YAML file; {} if the content is no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such file; check the path") from e
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(f"{path}: broken YAML ({' '.join(str(e).split())})") from e
    return content if isinstance(content, dict) else {}


def _images(root: Path, source: str, file: Path) -> list[Path]:
    """Paths of the images of one entry of a split.

    Args:
        root: the folder that paths start from.
        source: the entry: a folder of images, or a .txt file that lists images.
        file: the data.yaml, for messages.
    """
    path = root / source
    if not path.exists() and source.startswith("../"):  # Roboflow writes paths with a "../" too many
        path = root / source.removeprefix("../")
    if path.is_dir():
        return list_images(path)
    if path.suffix == ".txt" and path.is_file():
        lines = [line.strip() for line in _read_lines(path) if line.strip()]
        return [root / line.removeprefix("./") for line in lines]
    raise InputError(f"{file}: {path} is neither a folder of images nor a .txt file that lists images")


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: is no text in UTF-8 ({e}); save the file as UTF-8") from e


def _label_file(image: Path) -> Path:
    """Path of an image's label file: the last folder `images` in the image's path becomes `labels`."""
    folders = list(image.parts)
    for i in range(len(folders) - 2, -1, -1):
        if folders[i] == "images":
            folders[i] = "labels"
            break
    return Path(*folders).with_suffix(".txt")


def _read_record(image: Path, names: list[str], defects: Defects) -> dict:
    """The dataset dict of an image and its label file."""
    if image.suffix.lower() not in IMAGE_SUFFIXES or not image.is_file():
        raise InputError(f"{image}: no such image of {', '.join(IMAGE_SUFFIXES)}; correct the file that lists images")
    width, height = image_size(image)
    labels, annotations = _label_file(image), []
    lines = _read_lines(labels) if labels.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{labels}:{number}"
        category, box = _parse(line, names, where)
        box = clean_box((np.array(box) * [width, height] * 1.0).reshape(-1).tolist(), width, height, defects, where)
        if box is not None:
            annotations.append({"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category": category, "iscrowd": 0})
    return {
        "file_name": str(image),
        "image_id": str(image),
        "width": width,
        "height": height,
        "annotations": annotations,
    }


def _parse(line: str, names: list[str], where: str) -> tuple[str, np.ndarray]:
    """Reads a line of a label file.

    Args:
        line: see the module.
        names: names of the classes.
        where: file and line number, for messages.

    Returns:
        the name of the class, and the box, ((x0, y0), (x1, y1)), in fractions of the image's width and height.
    """
    try:
        index, *numbers = line.split()
        values = np.array(numbers, dtype=float)
        category = names[int(float(index))] if float(index) >= 0 else None
    except (ValueError, IndexError, OverflowError) as e:
        raise InputError(
            f"{where}: {line.strip()!r} is not `class x y width height` with classes 0 to {len(names) - 1}"
        ) from e
    if category is None or len(values) < 4 or (len(values) > 5 and len(values) % 2):
        raise InputError(f"{where}: {line.strip()!r} is neither `class x y width height` nor a polygon")
    if len(values) <= 5:  # a fifth number is the confidence of a detection, which is left out
        centre, size = values[:2], values[2:4]
        box = np.stack([centre - size / 2, centre + size / 2])
    else:
        corners = values.reshape(-1, 2)
        box = np.stack([corners.min(axis=0), corners.max(axis=0)])
    if np.isfinite(box).all() and (box.min() < -_TOLERANCE or box.max() > 1 + _TOLERANCE):
        raise InputError(f"{where}: {line.strip()!r} is in pixels; YOLO's numbers are fractions of the image, 0 to 1")
    return category, box
