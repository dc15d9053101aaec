"""LocNet's localisation: finds the box of an object near a region from probabilities of columns and rows.

Gidaris and Komodakis, "LocNet: Improving Localization Accuracy for Object Detection". Wide ResNet's system for COCO
uses LocNet to localise.

A search region is a box around a region, larger than the region, that is cut into M columns and M rows.

Shapes: N search regions, K classes, M the resolution.
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

# Mode -> the probabilities that the network predicts for every column and row: that the column lies inside the object,
# that it is the object's first, that it is the object's last.
MODES = {"in_out": ("inside",), "borders": ("first", "last"), "combined": ("inside", "first", "last")}
_FLOOR = 1e-4  # probabilities are clamped to [_FLOOR, 1 - _FLOOR], so that their logarithms are finite
_POOLED = 14  # height and width of the pooled features
_MIN_IOU = 0.4  # training uses the regions that overlap an object by this IoU or more


class Localiser(nn.Module):
    """LocNet's network: regions and their classes -> boxes of the objects.

    Features of a search region (N, C, 14, 14) -> two 3x3 convolutions -> maximum over the rows (the columns) -> fully
    connected layer -> probabilities of the M columns (the M rows), for each class and each entry of the mode.

    Args:
        cfg: config with the keys of MODEL.ROI_LOC_HEAD.
        input_shape: channels and strides of the backbone's maps, by the map's name.
    """

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]):
        super().__init__()
        head = cfg.MODEL.ROI_LOC_HEAD
        self.kinds = MODES[head.MODE]
        self.resolution, self.search = head.RESOLUTION, head.SEARCH
        self.classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        # The maps of a pyramid all have the same channels. The channels of a backbone's own maps differ: the localiser
        # takes the last, deepest map alone.
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
        """Logits of the columns and rows, each region's for its own class.

        Args:
            features: maps of the backbone, by name.
            regions: search regions of each image, in pixels.
            classes: (N,) class of each region of all images.

        Returns:
            (N, 2, kinds, M), columns before rows. `kinds` is the number of entries of the mode.
        """
        x = self.convs(self.pooler([features[f] for f in self.in_features], regions))
        axes = self.predict_x(x.amax(dim=2).flatten(1)), self.predict_y(x.amax(dim=3).flatten(1))
        per_class = torch.stack(axes, dim=1).unflatten(2, (self.classes, len(self.kinds), self.resolution))
        return per_class[torch.arange(len(classes), device=classes.device), :, classes]

    def losses(self, features: dict[str, Tensor], boxes: list[Boxes], targets: list[Instances]) -> dict[str, Tensor]:
        """The loss of the regions that overlap an object by an IoU of 0.4 or more.

        Args:
            features: maps of the backbone, by name.
            boxes: sampled regions of each image, in pixels.
            targets: objects of each image, with `gt_boxes` and `gt_classes`.

        Returns:
            {"loss_loc": binary cross entropy}, which is 0 without such regions.
        """
        regions, objects, classes = [], [], []
        for image_boxes, target in zip(boxes, targets, strict=True):
            if not len(target):
                regions.append(image_boxes[:0])
                continue
            overlap, best = pairwise_iou(image_boxes, target.gt_boxes).max(dim=1)
            chosen = overlap >= _MIN_IOU
            regions.append(scale_boxes(image_boxes[chosen], self.search))
            objects.append(target.gt_boxes.tensor[best[chosen]])
            classes.append(target.gt_classes[best[chosen]])
        if not sum(map(len, regions)):
            return {"loss_loc": sum(p.sum() for p in self.parameters()) * 0.0}
        logits = self.logits(features, regions, torch.cat(classes))
        wanted = encode(torch.cat([r.tensor for r in regions]), torch.cat(objects), self.kinds, self.resolution)
        return {"loss_loc": balanced_loss(logits, wanted, self.kinds)}

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes], classes: list[Tensor]) -> list[Boxes]:
        """Moves each box to the object of its class nearby.

        Args:
            features: maps of the backbone, by name.
            boxes: boxes of each image, in pixels.
            classes: class of each box, a tensor for each image.

        Returns:
            the moved boxes of each image, in the same order.
        """
        regions = [scale_boxes(b, self.search) for b in boxes]
        if not sum(map(len, regions)):
            return boxes
        probabilities = self.logits(features, regions, torch.cat(classes)).sigmoid()
        moved = decode(torch.cat([r.tensor for r in regions]), probabilities, self.kinds)
        return [Boxes(b) for b in moved.split([len(b) for b in boxes])]


def encode(regions: Tensor, objects: Tensor, kinds: tuple[str, ...], resolution: int) -> Tensor:
    """The probabilities that the network should predict for the boxes of objects: the inverse of `decode`.

    An object's first (last) column is the column in which the object's left (right) border falls; rows likewise. A
    border outside the search region counts as in the outermost column or row.

    Args:
        regions: (N, 4) search regions, x0, y0, x1, y1 in pixels.
        objects: (N, 4) box of the object of each region, in pixels.
        kinds: the probabilities of the mode, a value of `MODES`.
        resolution: M.

    Returns:
        (N, 2, kinds, M) of 0 and 1, columns before rows.
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
    """Mean binary cross entropy, balanced between the object's first (last) column and the others (LocNet, 3.3).

    Of M columns only one is the object's first. It weighs as much as the M - 1 others together; rows likewise.

    Args:
        logits: (N, 2, kinds, M), see `Localiser.logits`.
        wanted: (N, 2, kinds, M) of 0 and 1, see `encode`.
        kinds: the probabilities of the mode, a value of `MODES`.
    """
    m = logits.shape[-1]
    weights = torch.ones_like(logits)
    for i, kind in enumerate(kinds):
        if kind != "inside":
            weights[:, :, i] = torch.where(wanted[:, :, i] > 0, m / 2, m / (2 * (m - 1)))
    return F.binary_cross_entropy_with_logits(logits, wanted, weights)


def decode(regions: Tensor, probabilities: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """The most likely box in each search region (LocNet, section 3.2).

    A box is a pair of columns, first <= last, and a pair of rows. The best pair has the largest sum of log p / (1 - p):
    of "inside" from the first to the last, of "first" at the first, and of "last" at the last. In the mode "borders",
    which has no "inside", the sum is of log p.

    Args:
        regions: (N, 4) search regions, x0, y0, x1, y1 in pixels.
        probabilities: (N, 2, kinds, M), columns before rows.
        kinds: the probabilities of the mode, a value of `MODES`.

    Returns:
        (N, 4) boxes, x0, y0, x1, y1 in pixels.
    """
    p = probabilities.clamp(_FLOOR, 1 - _FLOOR)
    terms = p.logit() if "inside" in kinds else p.log()
    ratio = dict(zip(kinds, terms.unbind(dim=2), strict=True))  # each (N, 2, M)
    m = p.shape[-1]
    score = p.new_zeros(*p.shape[:2], m, m)  # (N, 2, first, last): the sum for each pair
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
