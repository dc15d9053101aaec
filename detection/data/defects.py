"""What is wrong with annotations: counted, reported, and never fatal where a box can be dropped or clipped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

MISSING_DIFFICULT = "objects without `difficult`, taken as not difficult"
LISTED_TWICE = "images listed more than once, taken once"
OTHER_CASE = "objects whose class is written in another case, taken as the same"
FROM_ZERO = "boxes with a corner at 0 where pixels count from 1; if they count from 0 set DATASETS.VOC_FIRST_PIXEL 0"
NOT_FINITE = "boxes with a coordinate that is no number, dropped"
NO_AREA = "boxes of no area, dropped"
INVERTED = "boxes with xmin > xmax or ymin > ymax, dropped"
OUTSIDE = "boxes outside the image, dropped"
OVER_EDGE = "boxes over the image's edge, clipped"

# Annotations overshoot the edge by rounding; up to so many pixels that is none.
_EDGE_TOLERANCE = 1.0


class Defects:
    """Counts by kind, with the first file or annotation of each."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        self._first.setdefault(kind, where)

    def lines(self) -> list[str]:
        return [f"{n} {kind} (first: {self._first[kind]})" for kind, n in self.counts.items()]


def clean_box(box: Sequence[float], width: int, height: int, defects: Defects, where: str) -> list[float] | None:
    """A usable box, or None.

    Args:
        box: x0, y0, x1, y1 in pixels, continuous: the whole image is 0, 0, width, height.
        where: what to name in the report.
    """
    x0, y0, x1, y1 = box
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
