"""Multi-scale testing of ResNet's appendix B: each region is pooled at the two scales of the image that fit it best."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from detection.data.resizing import ResizeShortestEdge
from detection.inference.sight import Sight
from detection.inference.tiles import resized

import torch
from detectron2.data import transforms as T
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes
from torch import Tensor, nn

# Best area of a region in pixels for a network trained on crops of 224 x 224 (He et al., "Spatial Pyramid Pooling").
_BEST_AREA = 224**2


class RegionScales(nn.Module):
    """A Faster R-CNN that pools each region at two adjacent scales and takes the maximum of their features.

    The RPN proposes regions at one scale, `resize`.

    Args:
        model: detectron2's GeneralizedRCNN with residet's RoI heads, in evaluation mode.
        resize: resizes the image in which the RPN proposes regions.
        scales: short sides of the pyramid's images, in pixels.
        elongation: largest ratio of an image's long side to its short side. Longer images get a smaller short side.
    """

    def __init__(self, model: nn.Module, resize: T.Augmentation, scales: Sequence[int], elongation: float):
        super().__init__()
        self.model = model
        self.resize = resize
        self.scales = sorted(scales)
        self.elongation = elongation

    def forward(self, batch: list[dict]) -> list[dict]:
        """Detections, in the input and output format of detectron2's models.

        Args:
            batch: dicts with `image`, (3, H, W) uint8 in its original size, and `height` and `width` of the output.
        """
        return [self._detect(entry) for entry in batch]

    def _detect(self, entry: dict) -> dict:
        sight = self.look(entry["image"])
        detections = self.model.roi_heads.detect([sight.proposals], sight.predict, None)[0]
        return {"instances": detector_postprocess(detections, entry["height"], entry["width"])}

    def look(self, image: Tensor) -> Sight:
        """What the detector knows of an image, (3, H, W) uint8 in its original size, before it detects."""
        model = self.model
        base = {"image": resized(image, self.resize)}
        images = model.preprocess_image([base])
        proposals, _ = model.proposal_generator(images, model.backbone(images.tensor), None)
        height, width = images.image_sizes[0]
        pyramid = []
        for side in self.scales:
            resize = ResizeShortestEdge(side, round(side * self.elongation))
            level = model.preprocess_image([{"image": resized(image, resize)}])
            pyramid.append((model.backbone(level.tensor), level.image_sizes[0]))
        factors = torch.tensor([size[0] / height for _, size in pyramid], device=model.device)

        def pool(boxes: list[Boxes]) -> Tensor:
            chosen = best_scales(boxes[0], factors)
            return torch.maximum(*(self._pool(boxes[0], scale, pyramid, (height, width)) for scale in chosen))

        predict = functools.partial(model.roi_heads.predict, sizes=[(height, width)], pool=pool)
        return Sight(proposals[0], predict)

    def _pool(self, boxes: Boxes, chosen: Tensor, pyramid: list, size: tuple[int, int]) -> Tensor:
        """Features (R, C) of the regions, each pooled at one scale.

        Args:
            boxes: R regions, in pixels of the image in which the RPN proposed them.
            chosen: (R,) index of each region's scale.
            pyramid: the backbone's maps, and height and width of the image, at each scale.
            size: height and width of the image in which the RPN proposed the regions.
        """
        for i, (maps, (height, width)) in enumerate(pyramid):
            at_scale = chosen == i
            scaled_boxes = boxes[at_scale].clone()
            scaled_boxes.scale(width / size[1], height / size[0])
            pooled = self.model.roi_heads.region_features(maps, [scaled_boxes], [(height, width)])
            if i == 0:
                features = pooled.new_zeros(len(boxes), pooled.shape[1])
            features[at_scale] = pooled
        return features


def best_scales(boxes: Boxes, factors: Tensor) -> tuple[Tensor, Tensor]:
    """The two adjacent scales that fit each region best: where its area is closest to 224 x 224 pixels.

    Args:
        boxes: R regions.
        factors: (S,) pixels of each scale for one pixel of `boxes`, in ascending order.

    Returns:
        (R,) index of the best scale, and (R,) index of the better one of its two neighbours.
    """
    errors = (boxes.area()[:, None] * factors**2 - _BEST_AREA).abs()  # (R, S)
    first = errors.argmin(dim=1)
    below, above = (first - 1).clamp(min=0), (first + 1).clamp(max=len(factors) - 1)
    error_below, error_above = (errors.gather(1, i[:, None])[:, 0] for i in (below, above))
    take_above = (below == first) | ((above != first) & (error_above < error_below))
    return first, torch.where(take_above, above, below)
