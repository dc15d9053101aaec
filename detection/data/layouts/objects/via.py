"""Reads the JSON of the VGG Image Annotator (VIA): exported annotations, and saved projects.

    {"a.jpg1234": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x": 3, "y": 4, "width": 20,
    "height": 30}, "region_attributes": {"class": "cat"}}]}}

Older versions have a dict of regions, {"0": …}. A project has these entries below `_via_img_metadata`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import NO_BOX, NO_CLASS_GIVEN, Defects
from detection.data.layouts.files import head, read_json
from detection.data.layouts.objects.base import NO_CLASS, ImageFinder, Labels, ObjectReader

# Of several attributes that equally many regions have, the one of these names is the class.
_USUAL = ("class", "label", "name", "names", "category", "type", "object")


class VIAReader(ObjectReader):
    """Reads VIA's regions: rectangles, and the boxes around polygons, lines, circles and ellipses."""

    name = "via"
    layout = "VIA's JSON (regions with shape_attributes)"
    suffixes = (".json",)

    def is_annotation(self, path: Path) -> bool:
        start = head(path, 1 << 14)
        has_entry = re.search(r'"filename"\s*:', start) and re.search(r'"regions"\s*:', start)
        return bool(re.search(r'"_via_(img_metadata|settings)"\s*:', start) or has_entry)

    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        content = read_json(path)
        entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
        if not isinstance(entries, dict):
            raise InputError(f"{path}: has no entries of images; export the annotations from VIA as JSON again")
        images = [(key, *_regions(path, key, entry)) for key, entry in entries.items()]
        attribute = _class_attribute(path, [r for _, _, regions in images for r in regions], defects)
        labels: dict[str, Labels] = {}
        for key, name, regions in images:
            entry = labels.setdefault(name, Labels(path, f", {key}"))
            for region in regions:
                category = _value(region, attribute) if attribute else NO_CLASS
                box = _box(region["shape_attributes"], entry.where)
                if box is None or not category:
                    defects.note(NO_BOX if box is None else NO_CLASS_GIVEN, entry.where)
                else:
                    entry.objects.append((box, category))
        return labels, []


def _regions(path: Path, key: str, entry: object) -> tuple[str, list[dict]]:
    """The name of an entry's image, and the entry's regions."""
    name = entry.get("filename") if isinstance(entry, dict) else None
    regions = entry.get("regions") if isinstance(entry, dict) else None
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    fits = isinstance(name, str) and isinstance(regions, list)
    if not fits or not all(isinstance(r, dict) and isinstance(r.get("shape_attributes"), dict) for r in regions):
        raise InputError(
            f"{path}, {key}: is no image with `filename` and `regions` of `shape_attributes`; export the file again"
        )
    return name, regions


def _class_attribute(path: Path, regions: list[dict], defects: Defects) -> str:
    """The attribute that is the class: the one that most regions have; "" if no region has an attribute."""
    counts: Counter[str] = Counter()
    for region in regions:
        attributes = region.get("region_attributes")
        counts.update(name for name in (attributes if isinstance(attributes, dict) else ()) if _value(region, name))
    if not counts:
        return ""
    best = max(counts, key=lambda name: (counts[name], name.lower() in _USUAL))
    if len(counts) > 1:
        others = ", ".join(sorted(repr(name) for name in counts if name != best))
        defects.note(
            f"choices of an attribute for the class: {best!r}, which most regions have, not {others}", str(path)
        )
    return best


def _value(region: dict, attribute: str) -> str:
    """A region's value of an attribute: text, a number, or the names of the ticked boxes; "" for none."""
    attributes = region.get("region_attributes")
    value = attributes.get(attribute) if isinstance(attributes, dict) else None
    if isinstance(value, dict):
        value = " ".join(sorted(str(name) for name, ticked in value.items() if ticked))
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _box(shape: dict, where: str) -> tuple[float, float, float, float] | None:
    """The box around a shape; None for a point.

    Raises:
        InputError: the shape lacks a number, or is of an unknown kind.
    """
    kind = shape.get("name")
    try:
        if kind == "point":
            return None
        if kind == "rect":
            x, y, width, height = (float(shape[k]) for k in ("x", "y", "width", "height"))
            return x, y, x + width, y + height
        if kind in ("polygon", "polyline"):
            xs, ys = ([float(v) for v in shape[k]] for k in ("all_points_x", "all_points_y"))
            return min(xs), min(ys), max(xs), max(ys)
        if kind in ("circle", "ellipse"):
            x, y = float(shape["cx"]), float(shape["cy"])
            rx, ry = (float(shape[k]) for k in (("r", "r") if kind == "circle" else ("rx", "ry")))
            angle = float(shape.get("theta", 0))
            half = (
                math.hypot(rx * math.cos(angle), ry * math.sin(angle)),
                math.hypot(rx * math.sin(angle), ry * math.cos(angle)),
            )
            return x - half[0], y - half[1], x + half[0], y + half[1]
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: a {kind} lacks a number ({e}); draw the region again") from e
    raise InputError(f"{where}: a region has the unknown shape {kind!r}; draw it as a rect or polygon")
