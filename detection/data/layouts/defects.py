"""Mends and counts small defects of annotations, for a report.

A defect does not stop a run if the box can be clipped or dropped, or if a missing value has a safe default.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ABSENT = "images whose file is absent, left out"
NO_XML = "images without an XML file, left out"
EMPTY_OBJECT = "empty objects, without name and box, dropped"
OTHER_XML = "XML files that are no annotations of an image, passed over"
NO_ROLE = "annotation files that belong to no split, left out"
SAME_NAME = "classes of the same name under several ids, joined"
PARENT_CLASS = "parent classes without a box, left out"
MISSING_DIFFICULT = "objects without `difficult`, taken as not difficult"
LISTED_TWICE = "images listed more than once, taken once"
OTHER_CASE = "objects whose class is written in another case, taken as the same"
FROM_ZERO = (
    "boxes with a corner at 0 where pixels count from 1; if the pixels of these data count from 0, set "
    "DATASETS.VOC_FIRST_PIXEL 0"
)
OTHER_ENDING = "images named with another ending than their file has, found by the rest of the name"
NOT_UTF8 = "files that are no text in UTF-8, read as Latin-1"
NO_CLASS_GIVEN = "objects without a class, left out"
IGNORED = "shapes with the label __ignore__, left out"
NOT_LABELLED = "tasks that nobody has labelled, left out"
LABELLED_TWICE = "images with several annotations, of which the ground truth or the last is taken"
NO_BOX = "points and other shapes without a box, left out"
NOT_FINITE = "boxes with a coordinate that is no number, dropped"
NO_AREA = "boxes of no area, dropped"
INVERTED = "boxes with xmin > xmax or ymin > ymax, dropped"
OUTSIDE = "boxes outside the image, dropped"
OVER_EDGE = "boxes over the image's edge, clipped"

# Rounding puts corners a little beyond the edge. Clipping a box by at most this many pixels is no defect.
_EDGE_TOLERANCE = 1.0


class Defects:
    """Counts defects by kind, and keeps the place of the first defect of each kind.

    Attributes:
        counts: kind of defect, such as `NO_AREA` -> number of defects.
    """

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, kind: str, where: str) -> None:
        """Counts a defect.

        Args:
            kind: one of the module's constants, such as `NO_AREA`.
            where: file or annotation that has the defect.
        """
        self.counts[kind] += 1
        self._first.setdefault(kind, where)

    def lines(self) -> list[str]:
        """The report: for each kind the number of defects and the place of the first."""
        return [f"{n} {kind} (first: {self._first[kind]})" for kind, n in self.counts.items()]


def clean_box(box: Sequence[float], width: int, height: int, defects: Defects, where: str) -> list[float] | None:
    """Clips a box to its image, and notes what was wrong with the box.

    Args:
        box: x0, y0, x1, y1 in continuous pixel coordinates: a box of the whole image is 0, 0, width, height.
        width: width of the image in pixels.
        height: height of the image in pixels.
        defects: gets the defects of the box.
        where: file or annotation of the box, for the report.

    Returns:
        the clipped box; None if the box must be dropped, since no area of it lies in the image.
    """
    x0, y0, x1, y1 = box
    if 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height:  # nearly every box of a large file
        return [x0, y0, x1, y1]
    if not all(math.isfinite(v) for v in box):
        return defects.note(NOT_FINITE, where)
    if x0 > x1 or y0 > y1:
        return defects.note(INVERTED, where)
    if x0 == x1 or y0 == y1:
        return defects.note(NO_AREA, where)
    clipped = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        return defects.note(OUTSIDE, where)
    if max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > _EDGE_TOLERANCE:
        defects.note(OVER_EDGE, where)
    return clipped
