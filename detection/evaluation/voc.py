"""Detections of a data set, and PASCAL VOC's average precision, from dataset dicts, so that it serves any data set."""

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
    """Gathers the detections of all processes.

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
            found = output["instances"].to("cpu")
            boxes, scores, classes = found.pred_boxes.tensor, found.scores, found.pred_classes
            self._detections.append((entry["image_id"], boxes, scores, classes))

    def gather(self) -> dict | None:
        """Image id -> boxes (N, 4), scores (N,), classes (N,), in the main process; else None."""
        gathered = comm.gather(self._detections)
        if not comm.is_main_process():
            return None
        return {d[0]: d[1:] for d in chain.from_iterable(gathered)}


@dataclass(frozen=True)
class Matches:
    """Detections of one class in a whole data set, best score first, each with the object that it overlaps most.

    Attributes:
        overlaps: IoU with that object (N,); 0 without one.
        targets: number of that object in the data set (N,); -1 without one.
        ignored: that object is `difficult` or a crowd (N,).
        objects: objects of the class that count.
    """

    overlaps: np.ndarray
    targets: np.ndarray
    ignored: np.ndarray
    objects: int

    def curve(self, iou: float) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision after each detection; a hit is the first to overlap its object by more than `iou`."""
        near = self.overlaps > iou
        candidates = np.flatnonzero(near & ~self.ignored)
        _, first = np.unique(self.targets[candidates], return_index=True)
        hit = np.zeros(len(near), bool)
        hit[candidates[first]] = True
        true, false = np.cumsum(hit), np.cumsum(~hit & ~(near & self.ignored))
        return true / max(self.objects, 1), true / np.maximum(true + false, np.finfo(float).eps)


class VOCEvaluator(BoxEvaluator):
    """AP as detectron2 has the VOC devkit's: the area under the precision envelope, and the 11-point form of VOC 2007.

    A detection matches the object of its class that it overlaps most; a second one on the same object is false;
    objects marked `difficult` (and COCO's crowds) count neither way.

    Args:
        dataset_name: registered data; annotations may carry `difficult`.
    """

    def evaluate(self) -> dict | None:
        """{"voc": {"AP", "AP50", "AP75", "AP-07metric", "AP50-07metric", …, "AP50-CLASS" …}} in %, in the main process.

        AP is the mean over IoU .5 to .95 in steps of .05, as COCO's; NaN without objects.
        """
        detections = self.gather()
        if detections is None:
            return None
        of_class = [self.matches(detections, i) for i in range(len(self.classes))]
        figures = {}
        for suffix, eleven_points in (("", False), ("-07metric", True)):
            aps = np.array([[_ap(m, iou, eleven_points) for m in of_class] for iou in IOUS])
            means = [_mean(row) for row in aps]
            figures |= {f"AP{suffix}": _mean(means), f"AP50{suffix}": means[0], f"AP75{suffix}": means[5]}
            if not eleven_points:
                figures |= {f"AP50-{name}": float(ap) for name, ap in zip(self.classes, aps[0], strict=True)}
        return {"voc": figures}

    def matches(self, detections: dict, cls: int) -> Matches:
        """Of a class; `detections` as `gather` gives them."""
        truth, objects = self._truth(cls)
        rows = []  # score, overlap, target, ignored
        for image, (boxes, scores, classes) in detections.items():
            boxes, scores = boxes[classes == cls], scores[classes == cls].numpy()
            if image in truth and len(boxes):
                found, ignored, first = truth[image]
                overlaps, best = (x.numpy() for x in box_iou(boxes.double(), found.double()).max(dim=1))
                rows.append(np.stack([scores, overlaps, best + first, ignored[best]], axis=1))
            else:
                rows.append(np.stack([scores, *np.broadcast_to([[0], [-1], [0]], (3, len(scores)))], axis=1))
        table = np.concatenate([np.zeros((0, 4)), *rows])
        _, overlaps, targets, ignored = table[np.argsort(-table[:, 0], kind="stable")].T
        return Matches(overlaps, targets, ignored.astype(bool), objects)

    def _truth(self, cls: int) -> tuple[dict, int]:
        """Image id -> boxes (K, 4), ignored (K,), the first one's number; and the number of objects that count."""
        truth, number, objects = {}, 0, 0
        for record in self.records:
            of_class = [a for a in record["annotations"] if a["category_id"] == cls]
            if of_class:
                ignored = np.array([bool(a.get("difficult") or a.get("iscrowd")) for a in of_class])
                boxes = torch.tensor([a["bbox"] for a in of_class], dtype=torch.float32)
                truth[record["image_id"]] = (boxes, ignored, number)
                number += len(of_class)
                objects += int((~ignored).sum())
        return truth, objects


def _ap(matches: Matches, iou: float, eleven_points: bool) -> float:
    return 100 * voc_ap(*matches.curve(iou), eleven_points) if matches.objects else float("nan")


def _mean(values) -> float:
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
