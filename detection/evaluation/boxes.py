"""Gathers a model's detections of all images, once for all metrics, and the objects of registered data beside these."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy import ndarray


@dataclass(frozen=True)
class DatasetDetections:
    """The detections of a data set, image after image. Shapes: I images, N detections of all images.

    Attributes:
        images: ids of the images (I,).
        starts: number of the first detection of each image, and N at the end (I + 1,).
        boxes: x0, y0, x1, y1 in pixels (N, 4), float64.
        scores: from 0 to 1 (N,), float64.
        classes: index of each detection's class (N,).
    """

    images: list
    starts: ndarray
    boxes: ndarray
    scores: ndarray
    classes: ndarray

    @classmethod
    def join(cls, of_images: Sequence[tuple]) -> DatasetDetections:
        """Joins (image id, boxes (N, 4), scores (N,), classes (N,)) of all images."""
        images, boxes, scores, classes = zip(*of_images, strict=True) if of_images else ([], [], [], [])
        return cls(
            list(images),
            np.cumsum([0, *map(len, scores)]),
            np.concatenate([np.zeros((0, 4)), *boxes]),
            np.concatenate([np.zeros(0), *scores]),
            np.concatenate([np.zeros(0, int), *classes]),
        )

    def by_image(self) -> dict[object, tuple[ndarray, ndarray, ndarray]]:
        """Image id -> boxes (N, 4), scores (N,) and classes (N,) of the image's detections."""
        cuts = self.starts[1:-1]
        of_images = zip(*(np.split(x, cuts) for x in (self.boxes, self.scores, self.classes)), strict=True)
        return dict(zip(self.images, of_images, strict=bool(self.images)))


class BoxEvaluator(DatasetEvaluator):
    """Gathers the detections of all processes. A subclass computes figures of them.

    Args:
        dataset_name: registered data.
    """

    def __init__(self, dataset_name: str):
        self.metadata = MetadataCatalog.get(dataset_name)
        self.classes = self.metadata.thing_classes
        self.records = DatasetCatalog.get(dataset_name)

    def reset(self) -> None:
        self._of_images: list[tuple] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for entry, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            boxes, scores, classes = instances.pred_boxes.tensor, instances.scores, instances.pred_classes
            values = boxes.double().numpy(), scores.double().numpy(), classes.numpy()
            self._of_images.append((entry["image_id"], *values))

    def evaluate(self) -> dict | None:
        """The figures of the detections of all processes, in the main process; None in other processes."""
        gathered = comm.gather(self._of_images)
        if not comm.is_main_process():
            return None
        # An image that two processes have seen counts once.
        of_images = {of_image[0]: of_image for of_image in itertools.chain.from_iterable(gathered)}
        return self.figures(DatasetDetections.join([*of_images.values()]))

    def figures(self, detections: DatasetDetections) -> dict[str, dict[str, float]]:
        """Name of a metric -> its figures by name. Called in the main process."""
        raise NotImplementedError


class BoxEvaluators(BoxEvaluator):
    """Several metrics of the same detections, which are gathered once.

    Args:
        dataset_name: registered data.
        members: the metrics.
    """

    def __init__(self, dataset_name: str, members: Sequence[BoxEvaluator]):
        super().__init__(dataset_name)
        self.members = members

    def figures(self, detections: DatasetDetections) -> dict[str, dict[str, float]]:
        figures: dict[str, dict[str, float]] = {}
        for member in self.members:
            figures |= member.figures(detections)
        return figures


def objects_by_image(records: Sequence[dict]) -> dict[object, tuple[ndarray, ndarray, ndarray]]:
    """The objects of registered data.

    Returns:
        image id -> boxes x0, y0, x1, y1 in pixels (M, 4), classes (M,), and whether to ignore the object, since it is
        `difficult` or a crowd (M,).
    """
    return {record["image_id"]: objects_of(record["annotations"]) for record in records}


def objects_of(annotations: Sequence[dict]) -> tuple[ndarray, ndarray, ndarray]:
    """The objects of one image.

    Args:
        annotations: the annotations of a dataset dict.

    Returns:
        boxes x0, y0, x1, y1 in pixels (M, 4), classes (M,), and whether to ignore the object (M,).
    """
    boxes = np.array([a["bbox"] for a in annotations], dtype=float).reshape(-1, 4)
    classes = np.array([a["category_id"] for a in annotations], dtype=int)
    ignored = np.array([bool(a.get("difficult") or a["iscrowd"]) for a in annotations], dtype=bool)
    return boxes, classes, ignored


def iou(a: ndarray, b: ndarray, *, of_first: bool = False) -> ndarray:
    """Overlap of each pair of boxes.

    Args:
        a: (N, 4) x0, y0, x1, y1.
        b: (M, 4) x0, y0, x1, y1.
        of_first: divide the shared area by the area of the box in `a`, not by the area of the union.

    Returns:
        (N, M), from 0 to 1.
    """
    corners = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = corners.clip(min=0).prod(axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    divisor = area_a[:, None] if of_first else area_a[:, None] + area_b - shared
    return shared / np.maximum(divisor, 1e-12)
