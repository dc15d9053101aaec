"""Computes PASCAL VOC's average precision of registered data of any layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from detection.evaluation.boxes import BoxEvaluator
from detection.evaluation.overlaps import Overlaps

import numpy as np

IOUS = tuple(i / 100 for i in range(50, 100, 5))


@dataclass(frozen=True)
class Matches:
    """The detections of one class in a whole data set, best score first.

    The target of a detection is the object of the class, in the same image, that the detection overlaps most.

    Attributes:
        overlaps: IoU of each detection with its target (N,); 0 without a target.
        targets: number of the target among all objects of the data (N,); -1 if the detection overlaps no object of the
            class by a tenth.
        ignored: whether the target is `difficult` or a crowd (N,).
        objects: number of objects of the class that are neither `difficult` nor a crowd.
    """

    overlaps: np.ndarray
    targets: np.ndarray
    ignored: np.ndarray
    objects: int

    def curve(self, iou: float) -> tuple[np.ndarray, np.ndarray]:
        """Recall (N,) and precision (N,) after each detection, best score first.

        A true positive is the first detection that overlaps its target by more than `iou`. Detections that overlap an
        ignored target by more than `iou` do not count.
        """
        near = self.overlaps > iou
        candidates = np.flatnonzero(near & ~self.ignored)
        first = np.full(self.targets.max(initial=-1) + 1, -1)
        first[self.targets[candidates[::-1]]] = candidates[::-1]  # of several values for an index, numpy keeps the last
        hit = np.zeros(len(near), bool)
        hit[first[first >= 0]] = True
        true, false = np.cumsum(hit), np.cumsum(~hit & ~(near & self.ignored))
        return true / max(self.objects, 1), true / np.maximum(true + false, np.finfo(float).eps)


class VOCEvaluator(BoxEvaluator):
    """Computes AP as detectron2's version of the VOC devkit does.

    AP is the area under the precision envelope; "-07metric" in the name of a figure means the 11-point AP of VOC 2007.
    A detection matches the object of the same class with the largest IoU. A second detection of an object is a false
    positive. Objects marked `difficult`, and COCO's crowds, count neither as found nor as missed.

    Args:
        dataset_name: registered data; annotations may carry `difficult`.
    """

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        """Computes the figures.

        Returns:
            {"voc": {"AP", "AP50", "AP75", "AP-07metric", …, "AP50-CLASS", "AP50-07metric-CLASS" …}} in %. "AP" is the
            mean over IoU .5 to .95 in steps of .05, as in COCO. A figure is NaN without objects.
        """
        class_matches = self.matches(overlaps)
        aps = np.array([[_aps(m, iou) for m in class_matches] for iou in IOUS])  # IoUs, classes, metrics
        figures = {}
        for metric, suffix in enumerate(("", "-07metric")):
            means = [mean(row) for row in aps[:, :, metric]]
            figures |= {f"AP{suffix}": mean(means), f"AP50{suffix}": means[0], f"AP75{suffix}": means[5]}
            of_classes = zip(self.classes, aps[0, :, metric], strict=True)
            figures |= {f"AP50{suffix}-{name}": float(ap) for name, ap in of_classes}
        return {"voc": figures}

    def matches(self, overlaps: Overlaps) -> list[Matches]:
        """Finds the targets of the detections of each class."""
        found, objects = overlaps.detections, overlaps.objects
        largest, targets = overlaps.largest(overlaps.same_class())
        ignored_target = np.append(objects.ignored, False)[targets]  # the last value is for the target -1
        counts = np.bincount(objects.classes[~objects.ignored], minlength=len(self.classes)).tolist()
        return [
            Matches(largest[rows], targets[rows], ignored_target[rows], count)
            for rows, count in zip(found.of_classes(len(self.classes)), counts, strict=True)
        ]


def _aps(matches: Matches, iou: float) -> tuple[float, float]:
    """AP of one class in %, at one IoU: the area under the precision envelope, and VOC 2007's mean of 11 points.

    Both are NaN without objects.
    """
    if not matches.objects:
        return float("nan"), float("nan")
    recall, precision = matches.curve(iou)
    points = np.append(_envelope(precision), 0.0)[np.searchsorted(recall, np.arange(0.0, 1.1, 0.1), side="left")]
    return area_under(recall, precision), 100 * float(points.mean())


def area_under(recall: np.ndarray, precision: np.ndarray) -> float:
    """The area under the precision envelope in %, of recall (N,) and precision (N,) after each detection."""
    return 100 * float(np.sum(np.diff(recall, prepend=0.0) * _envelope(precision)))


def _envelope(precision: np.ndarray) -> np.ndarray:
    """The largest precision of each detection and those after it (N,)."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN without such values."""
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
