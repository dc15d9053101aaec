"""Reads Label Studio's own JSON: exports of tasks ("JSON", "JSON-MIN"), and one file a task as cloud storage has them.

[{"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"}, "annotations": [{"result": [{"type": "rectanglelabels",
  "original_width": 640, "original_height": 480, "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0,
  "rectanglelabels": ["cat"]}}]}]}]

The numbers of a `value` are percent of the image's width and height, and `rotation` turns a rectangle clockwise by
degrees about its corner (x, y). JSON-MIN has the values as a list, in the place of `annotations`. Label Studio's export
to COCO is read by coco.py, its export to YOLO by yolo.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from backbones.errors import InputError
from detection.data.layouts.defects import LABELLED_TWICE, NO_BOX, NO_CLASS_GIVEN, NOT_LABELLED, Defects
from detection.data.layouts.files import IMAGE_SUFFIXES, head, read_json
from detection.data.layouts.objects.base import ImageFinder, Labels, ObjectReader, checked_size

_MARKS = re.compile(r'"((rectangle|polygon|ellipse|brush|keypoint)labels|completions|lead_time|total_annotations)"')
_KINDS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")
# Label Studio puts eight digits before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


class LabelStudioReader(ObjectReader):
    """Reads Label Studio's rectangles, and the boxes around its polygons and ellipses."""

    name = "labelstudio"
    layout = "Label Studio's JSON (tasks with annotations)"
    suffixes = (".json",)

    def is_annotation(self, path: Path) -> bool:
        start = head(path, 1 << 15)
        return bool(re.match(r"\s*[\[{]", start) and _MARKS.search(start) and re.search(r'"(data|image)"\s*:', start))

    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        content = read_json(path)
        labels: dict[str, Labels] = {}
        for i, task in enumerate(content if isinstance(content, list) else [content]):
            where = f"{path}[{i}]"
            if not isinstance(task, dict):
                raise InputError(f"{where}: is no task of Label Studio; export the annotations again")
            regions = _regions(task, where, defects)
            if regions is None:
                defects.note(NOT_LABELLED, where)
                continue
            name = _image(task, path, where, finder)
            entry = labels.setdefault(name, Labels(path, f"[{i}]", fractions=True))
            for region in regions:
                box, category = _box(region, where), _category(region, regions)
                if box is None or not category:
                    defects.note(NO_BOX if box is None else NO_CLASS_GIVEN, where)
                else:
                    entry.objects.append((box, category))
        return labels, []


def _regions(task: dict, where: str, defects: Defects) -> list[dict] | None:
    """The regions of a task, each with its `value`; None if nobody has labelled the task.

    Of several annotations, the one that is marked as ground truth counts, or else the last.
    """
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None and isinstance(task.get("result"), list):  # cloud storage: a file for each annotation
        annotations = [task]
    if annotations is None:
        found = list(_minimal_regions(task))
        return found or None
    fits = isinstance(annotations, list) and all(isinstance(a, dict) for a in annotations)
    if not fits or not all(isinstance(a.get("result"), list) for a in annotations):
        raise InputError(f"{where}: its `annotations` are no list of objects with `result`; export them again")
    kept = [a for a in annotations if not a.get("was_cancelled")]
    if not kept:
        return None
    if len(kept) > 1:
        defects.note(LABELLED_TWICE, where)
    chosen = next((a for a in kept if a.get("ground_truth")), kept[-1])
    results = [region for region in chosen["result"] if isinstance(region, dict)]
    return [r for r in results if isinstance(r.get("value"), dict) and (_shape_of(r["value"]) or "rle" in r["value"])]


def _minimal_regions(task: dict) -> Iterator[dict]:
    """The regions of a task of JSON-MIN, whose values are in lists beside the task's data."""
    for value in task.values():
        for region in value if isinstance(value, list) else ():
            if isinstance(region, dict) and (_shape_of(region) or "rle" in region):
                yield {"value": region, **{key: region.get(key) for key in ("original_width", "original_height")}}


def _shape_of(value: dict) -> str:
    """The shape of a region's value: "rectangle", "polygon", "ellipse" or "point"; "" for choices and texts."""
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= set(value) and "keypointlabels" not in value else ""


def _category(region: dict, regions: list[dict]) -> str:
    """The class of a region; "" for none. The class may be in another region of the same id, as with `<Labels>`."""
    same = [r for r in regions if r.get("id") is not None and r.get("id") == region.get("id")]
    for value in (region["value"], *(r["value"] for r in same)):
        for kind in _KINDS:
            names = value.get(kind)
            if isinstance(names, list) and names and isinstance(names[0], str) and names[0].strip():
                return names[0].strip()
    return ""


def _image(task: dict, path: Path, where: str, finder: ImageFinder) -> str:
    """Name of a task's image, as found: the path in its data, perhaps without the digits of an uploaded file."""
    data = task.get("data") or (task["task"].get("data") if isinstance(task.get("task"), dict) else None) or task
    texts = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    names = [name for value in texts if Path(name := _path_of(value)).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise InputError(f"{where}: its `data` name no image; export the annotations again")
    name = next((n for n in names if finder.find(n, path)), names[0])
    last = name.rpartition("/")[2]
    return name if finder.find(name, path) or not _UPLOADED.match(last) else _UPLOADED.sub("", last, count=1)


def _path_of(value: str) -> str:
    """The path in an address, such as https://host/a.jpg, s3://bucket/a.jpg or /data/local-files/?d=photos/a.jpg."""
    try:
        address = urlsplit(value)
    except ValueError:
        return value
    if address.query.startswith("d="):
        return unquote(address.query.removeprefix("d="))
    return unquote(address.path) if address.scheme or "%" in value else value


def _box(region: dict, where: str) -> tuple[float, float, float, float] | None:
    """The box around a region, in fractions of the image's width and height; None for a mask of pixels.

    Raises:
        InputError: the region lacks a number.
    """
    value = region["value"]
    shape = _shape_of(value)
    try:
        if shape == "polygon":
            points = [(float(x), float(y)) for x, y in value["points"]]
        elif shape == "ellipse":
            x, y, rx, ry = (float(value[k]) for k in ("x", "y", "radiusX", "radiusY"))
            points = [(x - rx, y - ry), (x + rx, y + ry)]
        elif shape == "rectangle":
            points = _corners(region, *(float(value[k]) for k in ("x", "y", "width", "height")), where)
        else:
            return None
        xs, ys = [x / 100 for x, _ in points], [y / 100 for _, y in points]
        return min(xs), min(ys), max(xs), max(ys)
    except (TypeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: a {shape} lacks a number ({e}); draw the region again") from e


def _corners(region: dict, x: float, y: float, width: float, height: float, where: str) -> list[tuple[float, float]]:
    """The corners of a rectangle in percent, turned about its first corner if it has a rotation.

    Raises:
        InputError: a rectangle is turned, and the file does not state the image's size, which says how far.
    """
    angle = math.radians(float(region["value"].get("rotation") or 0))
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    if angle:
        size = checked_size(region.get("original_width"), region.get("original_height"))
        if size is None:
            raise InputError(f"{where}: has a turned rectangle without original_width and original_height; add them")
        ratio = size[0] / size[1]  # percent of the height are other lengths than percent of the width
        cos, sin = math.cos(angle), math.sin(angle)
        corners = [(u * cos - v / ratio * sin, u * ratio * sin + v * cos) for u, v in corners]
    return [(x + u, y + v) for u, v in corners]
