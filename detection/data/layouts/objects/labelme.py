"""Reads the JSON files of LabelMe, one an image.

{"shapes": [{"label": "cat", "points": [[3, 4], [23, 34]], "shape_type": "rectangle"}], "imagePath": "a.jpg",
 "imageWidth": 640, "imageHeight": 480}
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import IGNORED, NO_BOX, Defects
from detection.data.layouts.files import head, read_json
from detection.data.layouts.objects.base import ImageFinder, Labels, ObjectReader, checked_size

# LabelMe's own exporters leave shapes with this label out of the objects.
_IGNORED = "__ignore__"
_KINDS = ("rectangle", "polygon", "linestrip", "line", "circle", "mask", "oriented_rectangle", "rotation")


class LabelMeReader(ObjectReader):
    """Reads LabelMe's shapes: rectangles, and the boxes around polygons, lines, circles and masks."""

    name = "labelme"
    layout = "LabelMe's JSON (a file with shapes for each image)"
    suffixes = (".json",)

    def is_annotation(self, path: Path) -> bool:
        start = head(path, 1 << 14)
        of_shapes = r'"(points|imagePath|imageData|shape_type|lineColor)"\s*:'
        has_shapes = re.search(r'"shapes"\s*:\s*\[', start) and re.search(of_shapes, start)
        return bool(has_shapes or re.search(r'"imageData"\s*:\s*"', start))

    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        content = read_json(path)
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise InputError(f"{path}: has no list `shapes`; save the file with LabelMe again")
        labels = Labels(path, size=checked_size(content.get("imageWidth"), content.get("imageHeight")))
        for i, shape in enumerate(shapes):
            box, category = _box(shape, f"{path}, shapes[{i}]"), shape.get("label")
            if not isinstance(category, str) or not category.strip():
                raise InputError(f"{path}, shapes[{i}]: has no label; give the shape a label in LabelMe")
            if category == _IGNORED:
                defects.note(IGNORED, str(path))
            elif box is None:
                defects.note(NO_BOX, str(path))
            else:
                labels.objects.append((box, category.strip()))
        return {_image(path, content, finder): labels}, []


def _image(path: Path, content: dict, finder: ImageFinder) -> str:
    """Name of the image: `imagePath`, or the name of the JSON file if there is no image at `imagePath`."""
    name = content.get("imagePath")
    if isinstance(name, str) and name.strip() and (finder.find(name, path) or not finder.find(path.stem, path)):
        return name
    return path.stem


def _box(shape: dict, where: str) -> tuple[float, float, float, float] | None:
    """The box around a shape; None for points.

    Raises:
        InputError: the shape has no points of two numbers, or is of an unknown kind.
    """
    kind = shape.get("shape_type") or "polygon"  # LabelMe before version 3.3 drew polygons only
    if kind in ("point", "points"):
        return None
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if kind == "circle":  # the centre, and a point of the circle
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            return x - radius, y - radius, x + radius, y + radius
        xs, ys = [x for x, _ in points], [y for _, y in points]
        box = min(xs), min(ys), max(xs), max(ys)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: has no points of two numbers ({e}); draw the shape again") from e
    if kind not in _KINDS:
        raise InputError(f"{where}: has the unknown shape_type {kind!r}; draw it as a rectangle or polygon")
    return box
