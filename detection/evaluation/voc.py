"""Gathers the detections of registered data of any layout, and computes PASCAL VOC's average precision."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from detectron2.utils import comm
from torchvision.ops import box_iou

IOUS = tuple(i / 100 for i in range(50, 100, 5))


class BoxEvaluator(DatasetEvaluator):
    """Gathers the detections of all processes. A subclass evaluates the detections.

    Args:
        dataset_name: registered data.
    """

    def __init__(self, dataset_name: str):
        self.classes = MetadataCatalog.get(dataset_name).thing_classes
        self.records = DatasetCatalog.get(dataset_name)

    def reset(self):
        self._detections = []

    def process(self, inputs: list[dict], outputs: list[dict]):
        for entry, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            boxes, scores, classes = instances.pred_boxes.tensor, instances.scores, instances.pred_classes
            self._detections.append((entry["image_id"], boxes, scores, classes))

    def gather(self) -> dict | None:
        """Image id -> boxes (N, 4), scores (N,), classes (N,), in the main process; None in other processes."""
        gathered = comm.gather(self._detections)
        if not comm.is_main_process():
            return None
        return {d[0]: d[1:] for d in chain.from_iterable(gathered)}


@dataclass(frozen=True)
class Matches:
    """The detections of one class in a whole data set, best score first.

    The target of a detection is the object of the class, in the same image, that the detection overlaps most.

    Attributes:
        overlaps: IoU of each detection with its target (N,); 0 if the image has no object of the class.
        targets: number of the target among all objects of the class (N,); -1 if the image has no object of the class.
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

    def evaluate(self) -> dict | None:
        """Computes the figures.

        Returns:
            {"voc": {"AP", "AP50", "AP75", "AP-07metric", "AP50-07metric", …, "AP50-CLASS" …}} in %. "AP" is the mean
            over IoU .5 to .95 in steps of .05, as in COCO. A figure is NaN without objects. None in other processes
            than the main process.
        """
        detections = self.gather()
        if detections is None:
            return None
        class_matches = [self.matches(detections, i) for i in range(len(self.classes))]
        figures = {}
        for suffix, eleven_points in (("", False), ("-07metric", True)):
            aps = np.array([[_ap(m, iou, eleven_points) for m in class_matches] for iou in IOUS])
            means = [_mean(row) for row in aps]
            figures |= {f"AP{suffix}": _mean(means), f"AP50{suffix}": means[0], f"AP75{suffix}": means[5]}
            if not eleven_points:
                figures |= {f"AP50-{name}": float(ap) for name, ap in zip(self.classes, aps[0], strict=True)}
        return {"voc": figures}

    def matches(self, detections: dict, cls: int) -> Matches:
        """Matches the detections of one class with the objects of the class.

        Args:
            detections: the detections that `gather` returns.
            cls: index of the class.
        """
        truth, objects = self._truth(cls)
        rows = []  # score, overlap, target, ignored
        for image, (boxes, scores, classes) in detections.items():
            boxes, scores = boxes[classes == cls], scores[classes == cls].numpy()
            if image in truth and len(boxes):
                object_boxes, ignored, first = truth[image]
                overlaps, best = (x.numpy() for x in box_iou(boxes.double(), object_boxes.double()).max(dim=1))
                rows.append(np.stack([scores, overlaps, best + first, ignored[best]], axis=1))
            else:
                rows.append(np.stack([scores, *np.broadcast_to([[0], [-1], [0]], (3, len(scores)))], axis=1))
        table = np.concatenate([np.zeros((0, 4)), *rows])
        _, overlaps, targets, ignored = table[np.argsort(-table[:, 0], kind="stable")].T
        return Matches(overlaps, targets, ignored.astype(bool), objects)

    def _truth(self, cls: int) -> tuple[dict, int]:
        """The objects of one class.

        Returns:
            image id -> boxes (K, 4), whether to ignore each (K,), and the number of the first of the K objects among
            all objects of the class; and the number of objects that count.
        """
        truth, number, objects = {}, 0, 0
        for record in self.records:
            annotations = [a for a in record["annotations"] if a["category_id"] == cls]
            if annotations:
                ignored = np.array([bool(a.get("difficult") or a.get("iscrowd")) for a in annotations])
                boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32)
                truth[record["image_id"]] = (boxes, ignored, number)
                number += len(annotations)
                objects += int((~ignored).sum())
        return truth, objects


def _ap(matches: Matches, iou: float, eleven_points: bool) -> float:
    """AP of one class in %, at one IoU; NaN without objects."""
    return 100 * voc_ap(*matches.curve(iou), eleven_points) if matches.objects else float("nan")


def _mean(values) -> float:
    """The mean of the values that are not NaN; NaN without such values."""
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
