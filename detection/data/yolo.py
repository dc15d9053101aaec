"""Reads YOLO's layout: a data.yaml, images/…, and labels/… with text files.

A line of a label file is `class x_centre y_centre width height` in parts of the image, or `class x y x y …`, a polygon.
An image without a label file has no objects.
"""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.defects import LISTED_TWICE, Defects, clean_box
from detection.data.images import IMAGE_SUFFIXES, image_size, list_images
from detection.data.readers import Reader, ReaderOptions, Source

import numpy as np
import yaml
from detectron2.structures import BoxMode

# Rounding leaves corners a little outside of 0 to 1; more than this is no part of an image.
_TOLERANCE = 0.5


class YOLOReader(Reader):
    """YOLO's layout: a data.yaml, images/…, labels/…"""

    layout = "YOLO's (data.yaml)"
    suffixes = (".yaml", ".yml")

    def splits(self, folder: Path) -> dict[str, str]:
        file = find_yolo(folder)
        return {split: f"{file}:{split}" for split in yolo_splits(file)} if file else {}

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_yolo(path, part, defects)


def find_yolo(root: Path) -> Path | None:
    """The data.yaml of a folder: the first YAML file with `names`; None where the folder has no such file."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if "names" in _read_yaml(path):
            return path
    return None


def yolo_splits(file: Path) -> list[str]:
    """Names of the splits in a data.yaml."""
    return [split for split in ("train", "val", "test") if _read_yaml(file).get(split)]


def load_yolo(file: Path, split: str, defects: Defects) -> Source:
    """Reads a split.

    Args:
        file: data.yaml, with `names`, and for each split a folder of images, a .txt file that lists images, or several
            of these.
        split: "train", "val" or "test".
        defects: is filled with what was mended.

    Returns:
        the data, with the classes in their order.

    Raises:
        InputError: a file is missing or broken; the message names the file, and the line.
    """
    content = _read_yaml(file)
    names = content.get("names")
    if isinstance(names, dict):
        by_number = {int(k): v for k, v in names.items() if str(k).isdecimal()}
        names = [by_number[i] for i in range(len(names))] if sorted(by_number) == [*range(len(names))] else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"{file}: `names` must list the classes, or number them from 0 on")
    if split not in yolo_splits(file):
        raise InputError(f"{file}: no split {split!r}; there are {', '.join(yolo_splits(file)) or 'none'}")
    root = (file.parent / str(content.get("path") or "")).resolve()
    if not root.is_dir():  # such paths are often those of the machine where the file was written
        root = file.parent.resolve()
    sources = content[split] if isinstance(content[split], list) else [content[split]]
    images = [image for source in sources for image in _images(root, str(source), file)]
    if not images:
        raise InputError(f"{file}: {split}: there is no image in {', '.join(map(str, sources))}")
    if len(set(images)) < len(images):
        defects.note(LISTED_TWICE, file.name)
    return Source([_read_record(image, names, defects) for image in dict.fromkeys(images)], list(names))


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such file") from e
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(f"{path}: broken YAML ({' '.join(str(e).split())})") from e
    return content if isinstance(content, dict) else {}


def _images(root: Path, source: str, file: Path) -> list[Path]:
    path = root / source
    if not path.exists() and source.startswith("../"):  # as Roboflow writes them
        path = root / source.removeprefix("../")
    if path.is_dir():
        return list_images(path)
    if path.suffix == ".txt" and path.is_file():
        lines = [line.strip() for line in _read_lines(path) if line.strip()]
        return [root / line.removeprefix("./") for line in lines]
    raise InputError(f"{file}: {path} is neither a folder of images nor a .txt file that lists some")


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: is no text in UTF-8 ({e})") from e


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):  # the last folder of that name
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read_record(image: Path, names: list[str], defects: Defects) -> dict:
    if image.suffix.lower() not in IMAGE_SUFFIXES or not image.is_file():
        raise InputError(f"{image}: no such image")
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
    """The class and the box, ((x0, y0), (x1, y1)), in parts of the image."""
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
    if len(values) <= 5:  # a fifth number is a confidence
        centre, size = values[:2], values[2:4]
        box = np.stack([centre - size / 2, centre + size / 2])
    else:
        corners = values.reshape(-1, 2)
        box = np.stack([corners.min(axis=0), corners.max(axis=0)])
    if np.isfinite(box).all() and (box.min() < -_TOLERANCE or box.max() > 1 + _TOLERANCE):
        raise InputError(f"{where}: {line.strip()!r} is in pixels; YOLO's numbers are parts of the image, 0 to 1")
    return category, box
