"""Detections of a data set, and PASCAL VOC's average precision, from dataset dicts, so that it serves any data set."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from detectron2.utils import comm
from torch import Tensor
from torchvision.ops import box_iou


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


class VOCEvaluator(BoxEvaluator):
    """AP at one IoU as the VOC devkit has it: the area under the precision envelope, and the 11-point form of VOC 2007.

    A detection matches the object of its class that it overlaps most; a second one on the same object is false;
    objects marked `difficult` (and COCO's crowds) count neither way.

    Args:
        dataset_name: registered data; annotations may carry `difficult`.
        iou: overlap from which a detection matches.
    """

    def __init__(self, dataset_name: str, iou: float = 0.5):
        super().__init__(dataset_name)
        self._iou = iou

    def evaluate(self) -> dict | None:
        """{"voc": {"AP50", "AP50-07metric", "AP50-CLASS" …}} in %, in the main process; NaN without objects."""
        detections = self.gather()
        if detections is None:
            return None
        area, points = {}, {}
        for i, name in enumerate(self.classes):
            recall, precision = self.curve(detections, i)
            area[name] = 100 * voc_ap(recall, precision) if recall is not None else float("nan")
            points[name] = 100 * voc_ap(recall, precision, True) if recall is not None else float("nan")
        tag = f"AP{round(100 * self._iou)}"
        means = {tag: _mean(area.values()), f"{tag}-07metric": _mean(points.values())}
        return {"voc": means | {f"{tag}-{name}": ap for name, ap in area.items()}}

    def curve(self, detections: dict, cls: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Recall and precision after each detection of a class, best score first; None where it has no object."""
        truth, objects = self._truth(cls)
        if objects == 0:
            return None, None
        scored = [
            (float(score), image, box)
            for image, (boxes, scores, classes) in detections.items()
            for box, score in zip(boxes[classes == cls], scores[classes == cls], strict=True)
        ]
        scored.sort(key=lambda d: -d[0])
        hits = [self._match(box, *truth[image]) for _, image, box in scored]
        true = np.cumsum([h is True for h in hits])
        false = np.cumsum([h is False for h in hits])
        return true / objects, true / np.maximum(true + false, np.finfo(float).eps)

    def _truth(self, cls: int) -> tuple[dict, int]:
        """Image id -> boxes (K, 4), ignored (K,), taken (K,); and the number of objects that count."""
        truth = defaultdict(lambda: (torch.zeros(0, 4), [], []))
        objects = 0
        for record in self.records:
            of_class = [a for a in record["annotations"] if a["category_id"] == cls]
            if of_class:
                ignored = [bool(a.get("difficult") or a.get("iscrowd")) for a in of_class]
                boxes = torch.tensor([a["bbox"] for a in of_class], dtype=torch.float32)
                truth[record["image_id"]] = (boxes, ignored, [False] * len(of_class))
                objects += ignored.count(False)
        return truth, objects

    def _match(self, box: Tensor, boxes: Tensor, ignored: list[bool], taken: list[bool]) -> bool | None:
        """True for a hit, False for a false positive, None for neither."""
        if len(boxes) == 0:
            return False
        overlap, best = box_iou(box[None], boxes)[0].max(dim=0)
        if overlap <= self._iou:
            return False
        if ignored[best]:
            return None
        if taken[best]:
            return False
        taken[best] = True
        return True


def _mean(values) -> float:
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
