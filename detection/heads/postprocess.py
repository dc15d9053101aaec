"""Scored boxes of an image -> its detections: non-maximum suppression and box voting.

N: candidates, one for each region and class that scores enough; R: regions; K: classes.
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
    """What an image may hold, before suppression.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,) probability of the class.
        classes: (N,) index.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __getitem__(self, index: Tensor) -> Candidates:
        return Candidates(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def cat(cls, parts: list[Candidates]) -> Candidates:
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @classmethod
    def of_regions(cls, boxes: Tensor, scores: Tensor, image_size: tuple[int, int], threshold: float) -> Candidates:
        """Those of all regions.

        Args:
            boxes: (R, 4 K), or (R, 4) where all classes share one.
            scores: (R, K + 1) probabilities, the background's last.
            image_size: height and width that boxes are clipped to.
            threshold: candidates score more.
        """
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
        boxes, scores = boxes[finite], scores[finite, :-1]
        region, kind = (scores > threshold).nonzero(as_tuple=True)
        per_class = boxes.unflatten(1, (-1, 4))
        chosen = Boxes(per_class[region, kind if per_class.shape[1] > 1 else 0])
        chosen.clip(image_size)
        return cls(chosen.tensor, scores[region, kind], kind)


def select(found: Candidates, image_size: tuple[int, int], nms: float, topk: int, voting: float = 0.0) -> Instances:
    """Detections, best first.

    Args:
        nms: IoU above which the lesser of two candidates of a class is dropped.
        topk: at most so many; below 0 all.
        voting: see `vote`; 0 leaves it out.
    """
    keep = batched_nms(found.boxes, found.scores, found.classes, nms)
    best = found[keep[:topk] if topk >= 0 else keep]
    result = Instances(image_size)
    result.pred_boxes = Boxes(vote(best, found, voting) if voting else best.boxes)
    result.scores, result.pred_classes = best.scores, best.classes
    return result


def vote(best: Candidates, found: Candidates, iou: float) -> Tensor:
    """Each box becomes the mean of the candidates of its class that overlap it, weighted by their scores.

    Box voting of Gidaris and Komodakis, which ResNet's appendix (box refinement) takes over.

    Args:
        best: what suppression has left.
        found: all candidates.
        iou: overlap from which a candidate has a vote.
    """
    if not len(best.boxes):
        return best.boxes
    votes = (box_iou(best.boxes, found.boxes) >= iou) & (best.classes[:, None] == found.classes)
    weights = votes * found.scores
    total = weights.sum(dim=1, keepdim=True)  # 0 where a box at the image's edge was clipped to no area
    return torch.where(total > 0, weights @ found.boxes / total.clamp(min=1e-12), best.boxes)
