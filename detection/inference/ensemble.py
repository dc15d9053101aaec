"""Several detectors as one (ResNet, appendix B): their proposals joined, their boxes and scores averaged per region.

Shapes: R regions of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detection.inference.region_scales import RegionScales
from detection.inference.sight import OneScale, Sight

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn


@dataclass
class Member:
    """One detector of an ensemble.

    Attributes:
        eye: looks at an image as the detector is tested, at one scale or at several.
        image_format: order of the channels that the detector takes, "RGB" or "BGR".
        share: the detector's part in the means; the parts of all members sum up to 1.
    """

    eye: OneScale | RegionScales
    image_format: str
    share: float


class DetectorEnsemble(nn.Module):
    """Detects with several detectors of the same classes, which may differ in network, scale and pixel order.

    "The union set of proposals are processed by an ensemble of per-region classifiers": a region's boxes and
    probabilities are the means over the members. Suppression, box refinement and voting are those of the first member's
    heads.

    Args:
        members: the detectors, with their preprocessing and shares.
        image_format: order of the channels of the images that the ensemble gets, "RGB" or "BGR".
    """

    def __init__(self, members: Sequence[Member], image_format: str):
        super().__init__()
        self.members = members
        self.models = nn.ModuleList(member.eye.model for member in members)
        self.image_format = image_format

    def forward(self, batch: list[dict]) -> list[dict]:
        """Detections, in the input and output format of detectron2's models.

        Args:
            batch: dicts with `image`, (3, H, W) uint8 in its original size, and `height` and `width` of the output.
        """
        return [self._detect(entry) for entry in batch]

    def _detect(self, entry: dict) -> dict:
        image = entry["image"]
        size = tuple(image.shape[1:])
        sights = [m.eye.look(image if m.image_format == self.image_format else image.flip(0)) for m in self.members]
        regions = Boxes(torch.cat([_scaled(s.proposals.proposal_boxes.tensor, _factors(s, size)) for s in sights]))

        def predict(boxes: list[Boxes]) -> tuple[list[Tensor], list[Tensor]]:
            found = [_predict(sight, boxes[0], size) for sight in sights]
            shares = [member.share for member in self.members]
            means = (sum(s * x for s, x in zip(shares, values, strict=True)) for values in zip(*found, strict=True))
            return tuple([mean] for mean in means)

        heads = self.models[0].roi_heads
        detections = heads.detect([Instances(size, proposal_boxes=regions)], predict, None)[0]
        return {"instances": detector_postprocess(detections, entry["height"], entry["width"])}


def _factors(sight: Sight, size: tuple[int, int]) -> tuple[float, float]:
    """Pixels of the original image in x and y for one pixel of the image that the detector resized."""
    height, width = sight.proposals.image_size
    return size[1] / width, size[0] / height


def _scaled(boxes: Tensor, factors: tuple[float, float]) -> Tensor:
    """Boxes (R, 4 N), x0, y0, x1, y1, with x and y multiplied by the two factors."""
    return (boxes.unflatten(1, (-1, 4)) * boxes.new_tensor(factors * 2)).flatten(1)


def _predict(sight: Sight, regions: Boxes, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A member's boxes (R, 4 K) and probabilities (R, K + 1) of regions, all in pixels of the original image."""
    x, y = _factors(sight, size)
    (boxes,), (scores,) = sight.predict([Boxes(_scaled(regions.tensor, (1 / x, 1 / y)))])
    return _scaled(boxes, (x, y)), scores
