"""Computes the average precision of ImageNet DET, ILSVRC's detection task."""

from __future__ import annotations

from detection.evaluation.boxes import BoxEvaluator
from detection.evaluation.overlaps import Overlaps, match
from detection.evaluation.voc import area_under, mean

import numpy as np

_IOU = 0.5
_TOLERANCE = 10.0  # pixels by which a box may be wider and higher than the object, where the object is small


class ImageNetDETEvaluator(BoxEvaluator):
    """Computes AP as `eval_detection.m` of ILSVRC's development kit does (2014).

    An object of width w and height h px is found at an IoU of min(0.5, w h / ((w + 10) (h + 10))), which is less than
    0.5 for objects below about 25 px. A detection takes, of the objects of its class that no better detection has
    taken, the one with the largest IoU. AP is the area under the precision envelope. Two differences: the kit leaves
    out the pairs of image and class that its blacklist names; and objects of less than 5 px may count as missed here.

    Args:
        dataset_name: registered data.
    """

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        """Computes the figures.

        Returns:
            {"det": {"AP50", "AP50-CLASS", …}} in %. A figure is NaN without objects.
        """
        of_classes = average_precisions(overlaps, len(self.classes))
        names = (f"AP50-{name}" for name in self.classes)
        return {"det": {"AP50": mean(of_classes), **dict(zip(names, of_classes, strict=True))}}


def average_precisions(overlaps: Overlaps, classes: int) -> list[float]:
    """ImageNet DET's AP of each of a number of classes, in %; NaN without objects."""
    found, objects = overlaps.detections, overlaps.objects
    width, height = objects.boxes[:, 2:].T
    demanded = np.minimum(_IOU, width * height / ((width + _TOLERANCE) * (height + _TOLERANCE)))
    pairs = np.flatnonzero(overlaps.same_class() & (overlaps.iou >= demanded[overlaps.object]))
    image = found.of_images(range(len(found.images)))
    _, turn = overlaps.ranks(image * classes + found.classes)
    ignored, shared = np.zeros((1, len(objects.classes)), bool), np.zeros(len(objects.classes), bool)
    hit = match(overlaps, pairs, overlaps.iou[pairs], turn, np.zeros(1), ignored, shared)[:, 0, 0] >= 0
    aps = []
    for rows, count in zip(found.of_classes(classes), np.bincount(objects.classes, minlength=classes), strict=True):
        true = np.cumsum(hit[rows])
        area = area_under(true / max(count, 1), true / np.arange(1, len(rows) + 1))
        aps.append(area if count else float("nan"))
    return aps
