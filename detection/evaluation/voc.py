"""Computes PASCAL VOC's average precision of registered data of any layout."""

from __future__ import annotations

from dataclasses import dataclass

from detection.evaluation.boxes import BoxEvaluator, DatasetDetections, iou, objects_by_image

import numpy as np
from detectron2.evaluation.pascal_voc_evaluation import voc_ap

IOUS = tuple(i / 100 for i in range(50, 100, 5))


@dataclass(frozen=True)
class Matches:
    """The detections of one class in a whole data set, best score first.

    The target of a detection is the object of the class, in the same image, that the detection overlaps most.

    Attributes:
        overlaps: IoU of each detection with its target (N,); 0 if the image has no object of the class.
        targets: number of the target among all objects of the data (N,); -1 if the image has no object of the class.
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
        _, first = np.unique(self.targets[candidates], return_index=True)
        hit = np.zeros(len(near), bool)
        hit[candidates[first]] = True
        true, false = np.cumsum(hit), np.cumsum(~hit & ~(near & self.ignored))
        return true / max(self.objects, 1), true / np.maximum(true + false, np.finfo(float).eps)


class VOCEvaluator(BoxEvaluator):
    """Computes AP with detectron2's version of the VOC devkit.

    AP is the area under the precision envelope; "-07metric" in the name of a figure means the 11-point AP of VOC 2007.
    A detection matches the object of the same class with the largest IoU. A second detection of an object is a false
    positive. Objects marked `difficult`, and COCO's crowds, count neither as found nor as missed.

    Args:
        dataset_name: registered data; annotations may carry `difficult`.
    """

    def figures(self, detections: DatasetDetections) -> dict[str, dict[str, float]]:
        """Computes the figures.

        Returns:
            {"voc": {"AP", "AP50", "AP75", "AP-07metric", "AP50-07metric", …, "AP50-CLASS" …}} in %. "AP" is the mean
            over IoU .5 to .95 in steps of .05, as in COCO. A figure is NaN without objects.
        """
        class_matches = self.matches(detections)
        figures = {}
        for suffix, eleven_points in (("", False), ("-07metric", True)):
            aps = np.array([[_ap(m, iou, eleven_points) for m in class_matches] for iou in IOUS])
            means = [_mean(row) for row in aps]
            figures |= {f"AP{suffix}": _mean(means), f"AP50{suffix}": means[0], f"AP75{suffix}": means[5]}
            if not eleven_points:
                figures |= {f"AP50-{name}": float(ap) for name, ap in zip(self.classes, aps[0], strict=True)}
        return {"voc": figures}

    def matches(self, detections: DatasetDetections) -> list[Matches]:
        """Finds the targets of the detections of each class."""
        truth = objects_by_image(self.records)
        overlaps, targets = np.zeros(len(detections.scores)), np.full(len(detections.scores), -1)
        first = dict(zip(truth, np.cumsum([0, *(len(t[1]) for t in truth.values())]), strict=False))
        for image, start, end in zip(detections.images, detections.starts, detections.starts[1:], strict=False):
            objects, classes, _ = truth[image]
            if start < end and len(objects):
                same = detections.classes[start:end, None] == classes
                overlap = np.where(same, iou(detections.boxes[start:end], objects), -1.0)
                overlaps[start:end] = overlap.max(axis=1).clip(min=0)
                targets[start:end] = np.where(same.any(axis=1), overlap.argmax(axis=1) + first[image], -1)
        classes, ignored = (np.concatenate([t[k] for t in truth.values()]) for k in (1, 2))
        ignored_target = np.append(ignored, False)[targets]  # the last value is for the target -1
        order = np.argsort(-detections.scores, kind="stable")
        of_classes = (order[detections.classes[order] == i] for i in range(len(self.classes)))
        counts = np.bincount(classes[~ignored], minlength=len(self.classes))
        return [
            Matches(overlaps[rows], targets[rows], ignored_target[rows], int(counts[i]))
            for i, rows in enumerate(of_classes)
        ]


def _ap(matches: Matches, iou: float, eleven_points: bool) -> float:
    """AP of one class in %, at one IoU; NaN without objects."""
    return 100 * voc_ap(*matches.curve(iou), eleven_points) if matches.objects else float("nan")


def _mean(values) -> float:
    """The mean of the values that are not NaN; NaN without such values."""
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
