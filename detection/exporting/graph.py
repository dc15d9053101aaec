"""A Faster R-CNN as one function of tensors: what detectron2's model computes at test, in a form that can be traced.

detectron2's own code asks for the number of proposals while it runs, which a traced program cannot. The layers are the
model's own; only what joins them is written anew.

Shapes: A anchors of a location, P proposals, R regions, K classes, D detections.
"""

from __future__ import annotations

from backbones.errors import InputError
from detection.heads.region_heads import RegionHeads
from detection.heads.roi_heads import ArchRes5ROIHeads, PooledROIHeads

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import RoIPool, nms, roi_align


class DetectorGraph(nn.Module):
    """Image -> detections, as a program of tensors alone.

    Args:
        model: detectron2's GeneralizedRCNN with ArchRes5ROIHeads (C4) or PooledROIHeads (FPN), in evaluation mode. Its
            weights are put into memory format NCHW.
        order: order of the channels that the model takes, "RGB" or "BGR".

    Raises:
        InputError: the model has a part that the graph does not have; the message names the key.
    """

    def __init__(self, model: nn.Module, order: str):
        super().__init__()
        check_exportable(model)
        # The tracer cannot follow sizes through maps in memory format NHWC (MODEL.CHANNELS_LAST).
        self.model = model.to(memory_format=torch.contiguous_format)
        self.order = order

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The detections of an image, the highest score first.

        Args:
            image: (H, W, 3) uint8 RGB, resized for the network.

        Returns:
            boxes (D, 4), x0, y0, x1, y1 in pixels of `image`; scores (D,); indices of the classes (D,).
        """
        model, size = self.model, (image.shape[0], image.shape[1])
        features = model.backbone(self._normalised(image, size))
        proposals = _proposals(model.proposal_generator, features, size)
        heads = model.roi_heads
        regions = torch.cat([torch.zeros_like(proposals[:, :1]), proposals], dim=1)  # (R, 5): index of the image first
        if isinstance(heads, ArchRes5ROIHeads):
            pooled = _pooled(heads.pooler, [features[f] for f in heads.in_features], regions)
            x = heads.res5(pooled).mean(dim=[2, 3])
        else:
            pooled = _pooled(heads.box_pooler, [features[f] for f in heads.box_in_features], regions)
            x = heads.box_head(pooled).flatten(1)
        return _detections(heads, x, proposals, size)

    def _normalised(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, 3, H', W') normalised, with zeros on the right and at the bottom up to what the backbone divides by."""
        model = self.model
        image = image.flip(2) if self.order == "BGR" else image
        x = (image.permute(2, 0, 1).to(torch.float32) - model.pixel_mean) / model.pixel_std
        divisor = model.backbone.size_divisibility
        if divisor > 1:
            # Multiples are written as products: the tracer then knows that strides divide them.
            height, width = ((side + divisor - 1) // divisor * divisor for side in size)
            x = F.pad(x, (0, width - size[1], 0, height - size[0]))
        return x[None]


def check_exportable(model: nn.Module) -> None:
    """Raises InputError if a detector has a part that `DetectorGraph` does not have."""
    remedy = "export its backbone with --part backbone, or run the checkpoint with torch"
    if not isinstance(model, GeneralizedRCNN) or type(model.proposal_generator) is not RPN:
        raise InputError(f"MODEL.META_ARCHITECTURE: only a Faster R-CNN with its own RPN can be exported; {remedy}")
    heads = model.roi_heads
    if type(heads) not in (ArchRes5ROIHeads, PooledROIHeads):
        raise InputError(f"MODEL.ROI_HEADS.NAME: {type(heads).__name__} cannot be exported; {remedy}")
    further = {
        "MODEL.ROI_LOC_HEAD.MODE": heads.localiser,
        "MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT": heads.options.global_context,
        "TEST.BOX_REFINEMENTS": heads.options.refinements,
        "TEST.BOX_VOTING_IOU": heads.options.voting,
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE RoIPool": any(isinstance(m, RoIPool) for m in heads.modules()),
    }
    if used := [key for key, value in further.items() if value]:
        raise InputError(f"{', '.join(used)}: cannot be exported; {remedy}")


def _proposals(rpn: RPN, features: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Boxes (P, 4) of the best proposals, as detectron2's `find_top_rpn_proposals` with one image."""
    maps = [features[f] for f in rpn.in_features]
    generator, cells = rpn.anchor_generator, list(rpn.anchor_generator.cell_anchors)
    boxes, scores, levels = [], [], []
    for level, (logits, deltas) in enumerate(zip(*rpn.rpn_head(maps), strict=True)):
        height, width = logits.shape[-2:]
        anchors = _anchors(cells[level], height, width, generator.strides[level], generator.offset)
        logits = logits[0].permute(1, 2, 0).reshape(-1)  # (H * W * A,)
        deltas = deltas.view(-1, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
        best, index = logits.topk(torch.sym_min(logits.shape[0], rpn.pre_nms_topk[False]))
        boxes.append(rpn.box2box_transform.apply_deltas(deltas[index], anchors[index]))
        scores.append(best)
        levels.append(torch.full_like(index, level))
    all_boxes, all_scores, all_levels = _clipped(torch.cat(boxes), size), torch.cat(scores), torch.cat(levels)
    sides = all_boxes[:, 2:] - all_boxes[:, :2]
    kept = (sides > rpn.min_box_size).all(dim=1).nonzero()[:, 0]
    all_boxes, all_scores, all_levels = all_boxes[kept], all_scores[kept], all_levels[kept]
    return all_boxes[_suppressed(all_boxes, all_scores, all_levels, rpn.nms_thresh, size)[: rpn.post_nms_topk[False]]]


def _anchors(cells: Tensor, height: int, width: int, stride: int, offset: float) -> Tensor:
    """(H * W * A, 4), as detectron2's DefaultAnchorGenerator."""
    y, x = ((torch.arange(n, device=cells.device) + offset) * stride for n in (height, width))
    y, x = y[:, None].expand(height, width).reshape(-1), x[None].expand(height, width).reshape(-1)
    return (torch.stack([x, y, x, y], dim=1)[:, None] + cells[None]).reshape(-1, 4)


def _pooled(pooler: ROIPooler, maps: list[Tensor], regions: Tensor) -> Tensor:
    """Pooled regions (R, C, S, S), each from the map that its size asks for, as detectron2's ROIPooler."""
    if len(maps) == 1:
        return _align(pooler.level_poolers[0], maps[0], regions)
    sides = regions[:, 3:] - regions[:, 1:3]
    scale = torch.sqrt(sides[:, 0] * sides[:, 1]) / pooler.canonical_box_size
    level = torch.floor(pooler.canonical_level + torch.log2(scale + 1e-8)).clamp(pooler.min_level, pooler.max_level)
    rows_of_maps = [(level == pooler.min_level + i).nonzero()[:, 0] for i in range(len(maps))]
    pooled = [_align(p, m, regions[i]) for p, m, i in zip(pooler.level_poolers, maps, rows_of_maps, strict=True)]
    return torch.cat(pooled)[torch.cat(rows_of_maps).argsort()]


def _align(pooler: nn.Module, features: Tensor, regions: Tensor) -> Tensor:
    return roi_align(features, regions, pooler.output_size, pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)


def _detections(
    heads: RegionHeads, x: Tensor, proposals: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and classes of the detections, from the regions' features (R, C)."""
    predictor = heads.box_predictor
    logits, deltas = predictor(x)
    probabilities = (logits.sigmoid() if predictor.use_sigmoid_ce else logits.softmax(dim=-1))[:, :-1]
    boxes = _clipped(predictor.box2box_transform.apply_deltas(deltas, proposals).reshape(-1, 4), size)
    boxes = boxes.view(-1, deltas.shape[1] // 4, 4)  # of each class, or one for all
    # torch.export takes it that there are two detections or more. So there are two regions outside of the image, of
    # which class 0 always is detected, with the lowest score, and which no other box overlaps.
    outside = boxes.new_tensor([[-4.0, -4, -3, -3], [-2.0, -2, -1, -1]])[:, None].expand(-1, boxes.shape[1], -1)
    boxes = torch.cat([boxes, outside])
    probabilities = F.pad(probabilities, (0, 0, 0, len(outside)), value=-1.0)
    chosen = probabilities > predictor.test_score_thresh
    chosen = torch.cat([chosen[: -len(outside)], torch.arange(chosen.shape[1]).expand(len(outside), -1) == 0])
    region, kind = chosen.nonzero().unbind(dim=1)
    boxes, scores = boxes[region, kind if boxes.shape[1] > 1 else 0], probabilities[region, kind]
    kept = _suppressed(boxes, scores, kind, predictor.test_nms_thresh, size)
    # The best, then what is behind them without the two, so that no size below 2 is computed with on the way.
    boxes, scores, kind = (values[kept][: -len(outside)] for values in (boxes, scores, kind))
    return tuple(values[: predictor.test_topk_per_image] for values in (boxes, scores, kind))


def _suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, size: tuple[int, int]) -> Tensor:
    """Indices of the boxes that suppression within each group leaves, the highest score first.

    The boxes of each group, which lie in an image of height and width `size`, are moved to a place of their own, so
    that one suppression does for all. There may be no boxes.
    """
    moved = boxes + (groups.to(boxes.dtype) * (size[0] + size[1] + 1))[:, None]
    kept = nms(moved, scores, iou)
    return kept[scores[kept].sort(descending=True).indices]  # not every runtime gives them in order


def _clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    return torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)], dim=1)
