"""A detector in a file of `export_detector`, to be called like detectron2's model."""

from __future__ import annotations

from backbones.portable.files import Session

import numpy as np
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn


def pixels_for(image: torch.Tensor, order: str) -> np.ndarray:
    """The input of an exported detector, (H, W, 3) uint8 RGB, from an image (3, H, W) uint8 in `order`."""
    image = image if order == "RGB" else image.flip(0)
    return image.permute(1, 2, 0).contiguous().numpy()


class RuntimeDetector(nn.Module):
    """Runs an exported detector on one image after the other.

    Args:
        session: what runs the file.
        order: order of the channels of the images that the detector gets, "RGB" or "BGR".
        threshold: detections with this score or less are left out.
    """

    def __init__(self, session: Session, order: str = "RGB", threshold: float = 0.0):
        super().__init__()
        self.session = session
        self.order = order
        self.threshold = threshold

    def forward(self, batch: list[dict]) -> list[dict]:
        """Detections, in the input and output format of detectron2's models.

        Args:
            batch: dicts with `image`, (3, H, W) uint8 after resizing, and `height` and `width` of the output.
        """
        return [{"instances": self._detect(entry)} for entry in batch]

    def _detect(self, entry: dict) -> Instances:
        boxes, scores, classes = self.session(pixels_for(entry["image"], self.order))
        instances = Instances(tuple(entry["image"].shape[1:]))
        instances.pred_boxes = Boxes(torch.from_numpy(boxes))
        instances.scores, instances.pred_classes = torch.from_numpy(scores), torch.from_numpy(classes).long()
        instances = instances[instances.scores > self.threshold]
        return detector_postprocess(instances, entry["height"], entry["width"])
