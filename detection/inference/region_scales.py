"""Multi-scale testing of ResNet's appendix B: a pyramid of images, of which each region takes the two best scales."""

from __future__ import annotations

from collections.abc import Sequence

from detection.inference.tiles import resized

import torch
from detectron2.data import transforms as T
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes
from torch import Tensor, nn

# Area of a region, in pixels, that suits a network trained on crops of 224 (He et al., "Spatial Pyramid Pooling").
_BEST_AREA = 224**2


class RegionScales(nn.Module):
    """A Faster R-CNN whose regions are pooled at two adjacent scales; the features are joined by their maximum.

    Proposals come from one scale, `resize`.

    Args:
        model: detectron2's GeneralizedRCNN with our RoI heads, in evaluation.
        resize: of the image in which regions are proposed.
        scales: short sides of the pyramid, in pixels.
        elongation: the long side is at most so many short sides.
    """

    def __init__(self, model: nn.Module, resize: T.Augmentation, scales: Sequence[int], elongation: float):
        super().__init__()
        self.model = model
        self.resize = resize
        self.scales = sorted(scales)
        self.elongation = elongation

    def forward(self, batch: list[dict]) -> list[dict]:
        """As detectron2's models; images (3, H, W) have their original pixels."""
        return [self._detect(entry) for entry in batch]

    def _detect(self, entry: dict) -> dict:
        model = self.model
        base = {"image": resized(entry["image"], self.resize)}
        images = model.preprocess_image([base])
        proposals, _ = model.proposal_generator(images, model.backbone(images.tensor), None)
        height, width = images.image_sizes[0]
        pyramid = []
        for side in self.scales:
            resize = T.ResizeShortestEdge(side, round(side * self.elongation))
            level = model.preprocess_image([{"image": resized(entry["image"], resize)}])
            pyramid.append((model.backbone(level.tensor), level.image_sizes[0]))
        factors = torch.tensor([size[0] / height for _, size in pyramid], device=model.device)

        def pool(boxes: list[Boxes]) -> Tensor:
            chosen = best_scales(boxes[0], factors)
            return torch.maximum(*(self._pool(boxes[0], scale, pyramid, (height, width)) for scale in chosen))

        found = model.roi_heads.detect(proposals, pool, None)[0]
        return {"instances": detector_postprocess(found, entry["height"], entry["width"])}

    def _pool(self, boxes: Boxes, chosen: Tensor, pyramid: list, size: tuple[int, int]) -> Tensor:
        """Features (R, C) of each region at the scale that is chosen for it."""
        for i, (maps, (height, width)) in enumerate(pyramid):
            mine = chosen == i
            of_scale = boxes[mine].clone()
            of_scale.scale(width / size[1], height / size[0])
            part = self.model.roi_heads.region_features(maps, [of_scale], [(height, width)])
            if i == 0:
                features = part.new_zeros(len(boxes), part.shape[1])
            features[mine] = part
        return features


def best_scales(boxes: Boxes, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Of each region the scale at which its area is closest to 224 x 224 pixels, and that one's better neighbour.

    Args:
        boxes: R regions.
        factors: of the scales, in order, against the pixels of `boxes`.
    """
    off = (boxes.area()[:, None] * factors**2 - _BEST_AREA).abs()
    first = off.argmin(dim=1)
    below, above = (first - 1).clamp(min=0), (first + 1).clamp(max=len(factors) - 1)
    off_below, off_above = (off.gather(1, i[:, None])[:, 0] for i in (below, above))
    take_above = (below == first) | ((above != first) & (off_above < off_below))
    return first, torch.where(take_above, above, below)
