"""Gathers a model's detections of all images, once for all metrics, and the objects of registered data beside these."""

from __future__ import annotations

from collections.abc import Sequence

from detection.evaluation.overlaps import DatasetDetections, DatasetObjects, Overlaps

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

_NOTHING = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)


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
        self._of_images: dict[object, tuple] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for entry, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            boxes = instances.pred_boxes.tensor.double().numpy().copy()
            boxes[:, 2:] -= boxes[:, :2]
            scores, classes = instances.scores.double().numpy(), instances.pred_classes.numpy()
            self._of_images[entry["image_id"]] = boxes, scores, classes

    def evaluate(self) -> dict | None:
        """The figures of the detections of all processes, in the main process; None in other processes."""
        gathered = comm.gather(self._of_images)
        if not comm.is_main_process():
            return None
        of_images = {image: found for of_process in gathered for image, found in of_process.items()}
        images = [record["image_id"] for record in self.records]
        detections = DatasetDetections.join(images, [of_images.get(image, _NOTHING) for image in images])
        objects = DatasetObjects.join([record.get("annotations", ()) for record in self.records])
        return self.figures(Overlaps.of(detections, objects))

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        """Name of a metric -> its figures by name. Called in the main process.

        Args:
            overlaps: the detections and objects of all images, in the order of the registered data.
        """
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

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        figures: dict[str, dict[str, float]] = {}
        for member in self.members:
            figures |= member.figures(overlaps)
        return figures
