"""Scored boxes of an image -> the image's detections, by non-maximum suppression and box voting.

Shapes: R regions, K classes, N candidates. A candidate is a region with a class whose score is high enough.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import box_iou


@dataclass
class Candidates:
    """Possible detections of an image, before suppression.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,) probability of the class.
        classes: (N,) index of the class.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __getitem__(self, index: Tensor) -> Candidates:
        return Candidates(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def cat(cls, groups: list[Candidates]) -> Candidates:
        """Joins groups of candidates of one image."""
        return cls(*(torch.cat([getattr(g, f.name) for g in groups]) for f in fields(cls)))

    @classmethod
    def of_regions(cls, boxes: Tensor, scores: Tensor, image_size: tuple[int, int], threshold: float) -> Candidates:
        """The candidates of an image: each region with each class whose score is above a threshold.

        Regions with a box or a score that is not finite are left out.

        Args:
            boxes: (R, 4 K) pixels, a box for each class; or (R, 4), one box for all classes.
            scores: (R, K + 1) probabilities, the background's last.
            image_size: height and width of the image in pixels. Boxes are clipped to the image.
            threshold: the score that a candidate must exceed.
        """
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
        boxes, scores = boxes[finite], scores[finite, :-1]
        region, kind = (scores > threshold).nonzero(as_tuple=True)
        per_class = boxes.unflatten(1, (-1, 4))
        chosen = Boxes(per_class[region, kind if per_class.shape[1] > 1 else 0])
        chosen.clip(image_size)
        return cls(chosen.tensor, scores[region, kind], kind)


def select(
    candidates: Candidates, image_size: tuple[int, int], nms: float, topk: int, voting: float = 0.0
) -> Instances:
    """The detections of an image, the highest score first.

    Args:
        candidates: all candidates of the image.
        image_size: height and width of the image in pixels.
        nms: two candidates of one class with a larger IoU are one object: the candidate with the lower score is
            dropped.
        topk: the largest number of detections; a number below 0 sets no limit.
        voting: the argument `iou` of `vote`; 0 turns box voting off.
    """
    keep = batched_nms(candidates.boxes, candidates.scores, candidates.classes, nms)
    best = candidates[keep[:topk] if topk >= 0 else keep]
    result = Instances(image_size)
    result.pred_boxes = Boxes(vote(best, candidates, voting) if voting else best.boxes)
    result.scores, result.pred_classes = best.scores, best.classes
    return result


def vote(best: Candidates, candidates: Candidates, iou: float) -> Tensor:
    """Box voting (Gidaris and Komodakis), which ResNet's appendix B uses in its box refinement.

    Each box becomes the mean of the candidates of its class that overlap the box, weighted by the candidates' scores.

    Args:
        best: the candidates that suppression has left.
        candidates: all candidates of the image.
        iou: IoU with a box from which a candidate counts in the box's mean.

    Returns:
        the boxes of `best` after voting, in pixels.
    """
    if not len(best.boxes):
        return best.boxes
    votes = (box_iou(best.boxes, candidates.boxes) >= iou) & (best.classes[:, None] == candidates.classes)
    weights = votes * candidates.scores
    total = weights.sum(dim=1, keepdim=True)  # 0 where a box at the image's edge was clipped to no area
    return torch.where(total > 0, weights @ candidates.boxes / total.clamp(min=1e-12), best.boxes)
