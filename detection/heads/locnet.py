"""LocNet's localisation: where in the surroundings of a region its object lies, as probabilities of rows and columns.

Gidaris and Komodakis, "LocNet: Improving Localization Accuracy for Object Detection"; the localisation part of Wide
ResNet's COCO system. N: regions; K: classes; M: resolution; a search region is cut into M columns and M rows.
"""

from __future__ import annotations

from detection.heads.windows import scale_boxes

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn
from torch.nn import functional as F

# Vectors of probabilities for each axis: inside the object; its first and its last column or row.
MODES = {"in_out": ("inside",), "borders": ("first", "last"), "combined": ("inside", "first", "last")}
_FLOOR = 1e-4  # probabilities are kept from 0 and 1 before their logarithm
_POOLED = 14
_MIN_IOU = 0.4  # of regions with an object that it is trained on


class Localiser(nn.Module):
    """Regions and their classes -> boxes.

    Enlarged region (N, C, 14, 14) -> two 3x3 convolutions -> maximum over rows (columns) -> fully connected ->
    probabilities of M columns (rows), for each class and each kind of vector of the mode.
    """

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]):
        super().__init__()
        head = cfg.MODEL.ROI_LOC_HEAD
        self.kinds = MODES[head.MODE]
        self.resolution, self.search = head.RESOLUTION, head.SEARCH
        self.classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        # A pyramid has one width; of a backbone's own maps the last has the objects.
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        self.in_features = names if len({input_shape[n].channels for n in names}) == 1 else names[-1:]
        scales = [1 / input_shape[n].stride for n in self.in_features]
        box_head = cfg.MODEL.ROI_BOX_HEAD
        self.pooler = ROIPooler(_POOLED, scales, box_head.POOLER_SAMPLING_RATIO, box_head.POOLER_TYPE)
        channels, width = input_shape[self.in_features[0]].channels, head.CONV_DIM
        self.convs = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        out = self.classes * len(self.kinds) * self.resolution
        self.predict_x, self.predict_y = nn.Linear(width * _POOLED, out), nn.Linear(width * _POOLED, out)
        for conv in (self.convs[0], self.convs[2]):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        for layer in (self.predict_x, self.predict_y):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def logits(self, features: dict[str, Tensor], regions: list[Boxes], classes: Tensor) -> Tensor:
        """(N, 2, kinds, M) of the regions' classes, columns before rows.

        Args:
            regions: search regions of each image.
            classes: (N,) of the regions of all images.
        """
        x = self.convs(self.pooler([features[f] for f in self.in_features], regions))
        axes = self.predict_x(x.amax(dim=2).flatten(1)), self.predict_y(x.amax(dim=3).flatten(1))
        per_class = torch.stack(axes, dim=1).unflatten(2, (self.classes, len(self.kinds), self.resolution))
        return per_class[torch.arange(len(classes), device=classes.device), :, classes]

    def losses(self, features: dict[str, Tensor], boxes: list[Boxes], targets: list[Instances]) -> dict[str, Tensor]:
        """{"loss_loc"}: binary cross entropy of regions that overlap an object by 0.4 or more.

        Args:
            boxes: sampled regions of each image.
            targets: objects of each image.
        """
        regions, objects, classes = [], [], []
        for of_image, target in zip(boxes, targets, strict=True):
            if not len(target):
                regions.append(of_image[:0])
                continue
            overlap, best = pairwise_iou(of_image, target.gt_boxes).max(dim=1)
            chosen = overlap >= _MIN_IOU
            regions.append(scale_boxes(of_image[chosen], self.search))
            objects.append(target.gt_boxes.tensor[best[chosen]])
            classes.append(target.gt_classes[best[chosen]])
        if not sum(map(len, regions)):
            return {"loss_loc": sum(p.sum() for p in self.parameters()) * 0.0}
        logits = self.logits(features, regions, torch.cat(classes))
        wanted = encode(torch.cat([r.tensor for r in regions]), torch.cat(objects), self.kinds, self.resolution)
        return {"loss_loc": balanced_loss(logits, wanted, self.kinds)}

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes], classes: list[Tensor]) -> list[Boxes]:
        """The boxes of the objects of the given classes near the given boxes, for each image."""
        regions = [scale_boxes(b, self.search) for b in boxes]
        if not sum(map(len, regions)):
            return boxes
        probabilities = self.logits(features, regions, torch.cat(classes)).sigmoid()
        found = decode(torch.cat([r.tensor for r in regions]), probabilities, self.kinds)
        return [Boxes(b) for b in found.split([len(b) for b in boxes])]


def encode(regions: Tensor, objects: Tensor, kinds: tuple[str, ...], resolution: int) -> Tensor:
    """Target probabilities (N, 2, kinds, M), 0 or 1: columns before rows.

    The object's borders are those columns (rows) in which they fall; what lies beyond the region is at its edge.

    Args:
        regions: (N, 4) search regions.
        objects: (N, 4).
    """
    start, size = regions[:, None, :2], (regions[:, 2:] - regions[:, :2])[:, None]
    ends = (objects.unflatten(1, (2, 2)) - start) / size * resolution  # (N, first and last, x and y)
    first = ends[:, 0].floor().clamp(0, resolution - 1).long()
    last = (ends[:, 1].ceil() - 1).clamp(0, resolution - 1).long().maximum(first)
    index = torch.arange(resolution, device=regions.device)
    vectors = {
        "inside": (index >= first[..., None]) & (index <= last[..., None]),
        "first": index == first[..., None],
        "last": index == last[..., None],
    }
    return torch.stack([vectors[kind] for kind in kinds], dim=2).float()


def balanced_loss(logits: Tensor, wanted: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """Mean binary cross entropy; of a border's M entries the one and the others weigh the same (LocNet, 3.3)."""
    m = logits.shape[-1]
    weights = torch.ones_like(logits)
    for i, kind in enumerate(kinds):
        if kind != "inside":
            weights[:, :, i] = torch.where(wanted[:, :, i] > 0, m / 2, m / (2 * (m - 1)))
    return F.binary_cross_entropy_with_logits(logits, wanted, weights)


def decode(regions: Tensor, probabilities: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """The most likely boxes (N, 4).

    Of all pairs first <= last, for columns and rows alike, the one that maximises the sum of log p / (1 - p) of
    "inside" between them, and of "first" and "last" at them; of borders alone, the sum of log p at them (LocNet, 3.2).

    Args:
        regions: (N, 4) search regions.
        probabilities: (N, 2, kinds, M).
    """
    p = probabilities.clamp(_FLOOR, 1 - _FLOOR)
    terms = p.logit() if "inside" in kinds else p.log()
    ratio = dict(zip(kinds, terms.unbind(dim=2), strict=True))  # each (N, 2, M)
    m = p.shape[-1]
    score = p.new_zeros(*p.shape[:2], m, m)  # by first, last
    if "inside" in ratio:
        total = F.pad(ratio["inside"].cumsum(dim=-1), (1, 0))
        score = score + total[..., None, 1:] - total[..., :-1, None]
    if "first" in ratio:
        score = score + ratio["first"][..., :, None] + ratio["last"][..., None, :]
    impossible = torch.ones(m, m, dtype=torch.bool, device=p.device).tril(-1)
    best = score.masked_fill(impossible, float("-inf")).flatten(-2).argmax(dim=-1)  # (N, 2)
    ends = torch.stack([best // m, best % m + 1], dim=1).to(regions.dtype) / m  # (N, first and last, x and y)
    start, size = regions[:, None, :2], (regions[:, 2:] - regions[:, :2])[:, None]
    return (start + ends * size).flatten(1)
