"""Reads the JSON of Apple's Create ML, in which the x and y of a box are its centre, in pixels.

[{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 13, "y": 19, "width": 20, "height": 30}}]}]
"""

from __future__ import annotations

import re
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.files import head, read_json
from detection.data.layouts.objects.base import ImageFinder, Labels, ObjectReader


class CreateMLReader(ObjectReader):
    """Reads Create ML's JSON, one file for many images."""

    name = "createml"
    layout = "Create ML's JSON (a list of images with annotations)"
    suffixes = (".json",)

    def is_annotation(self, path: Path) -> bool:
        start = head(path, 1 << 14)
        image = re.match(r'\s*\[\s*\{\s*[^\[\{]*"(image|imagefilename|annotations?)"\s*:', start)
        return bool(image and re.search(r'"coordinates"\s*:\s*\{', start))

    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        content, labels = read_json(path), {}
        for i, entry in enumerate(content if isinstance(content, list) else ()):
            where = f"{path}[{i}]"
            name = (entry.get("image") or entry.get("imagefilename")) if isinstance(entry, dict) else None
            objects = entry.get("annotations", entry.get("annotation")) if isinstance(entry, dict) else None
            if not isinstance(name, str) or not isinstance(objects, list):
                raise InputError(f"{where}: is no object with `image` and a list `annotations`; export the file again")
            image = labels.setdefault(name, Labels(path, f"[{i}]"))
            image.objects += [_object(obj, where) for obj in objects]
        return labels, []


def _object(obj: object, where: str) -> tuple[tuple[float, float, float, float], str]:
    """The box and the class of an object."""
    try:
        x, y, width, height = (float(obj["coordinates"][k]) for k in ("x", "y", "width", "height"))
        category = obj["label"].strip()
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: an annotation has no `label` and `coordinates` x, y, width, height ({e})") from e
    if not category:
        raise InputError(f"{where}: an annotation has an empty label; give the object a label")
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2), category
