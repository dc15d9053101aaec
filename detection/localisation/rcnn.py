"""The R-CNN of ResNet's appendix C: each proposal is warped to a square, and the network moves and scores the proposal.

"The image region is cropped from a proposal, warped to 224 x 224 pixels, and fed into the classification network as in
R-CNN. The outputs of this network consist of two sibling fc layers for cls and reg, also in a per-class form."

Shapes: R regions, C classes of an image, P proposals of a class, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from backbones.interface import FeatureNetwork
from detection.localisation.data import Picture, mirrored, read_pixels
from detection.localisation.rpn import PerClassRPN
from residet.engine.loaders import seeded

import torch
from detectron2.config import CfgNode
from detectron2.modeling.box_regression import Box2BoxTransform
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.ops import box_iou, roi_align

_AT_ONCE = 64  # regions that the network sees at once at test
_TRANSFORM = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))


def warp(image: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Regions of an image as squares.

    Args:
        image: (3, H, W).
        boxes: x0, y0, x1, y1 of the regions in pixels (R, 4).
        size: side of a square in pixels.

    Returns:
        (R, 3, size, size), floating point.
    """
    return roi_align(image[None].to(boxes), [boxes], size, sampling_ratio=2, aligned=True)


class ProposalWarps(Dataset):
    """Warped proposals, {"image": (3, S, S) uint8, "label", "object": 0 or 1, "deltas": (4,)}, one of an image.

    "Fine-tuned in the RoI-centric fashion": an example is a region, and a batch has regions of many images. Where an
    image has proposals on the object and others, each kind comes in half of the cases; the paper does not say how the
    200 are drawn.

    Args:
        pictures: the images.
        proposals: proposals (P, 4) of the true class of each image, by the image's id.
        size: S.
        iou: IoU with an object from which a proposal counts as the object.
        seed: of the random numbers, which follow from `seed` and the position in the run.
    """

    def __init__(self, pictures: Sequence[Picture], proposals: dict[str, Tensor], size: int, iou: float, seed: int):
        self.pictures, self.proposals, self.size, self.iou, self.seed = pictures, proposals, size, iou, seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        picture = self.pictures[index]
        boxes, truth = self.proposals[picture.image_id], torch.from_numpy(picture.boxes)
        overlap, best = box_iou(boxes, truth).max(1)
        with seeded((self.seed, position)):
            sides = [side.nonzero()[:, 0] for side in (overlap >= self.iou, overlap < self.iou) if side.any()]
            side = sides[int(torch.randint(len(sides), ()))]
            chosen = int(side[int(torch.randint(len(side), ()))])
            flip = bool(torch.rand(()) < 0.5)
        region, target = boxes[chosen : chosen + 1], truth[best[chosen : chosen + 1]]
        image = read_pixels(picture.path)
        if flip:
            image = image.flip(-1)
            region, target = mirrored(region, image.shape[2]), mirrored(target, image.shape[2])
        is_object = bool(overlap[chosen] >= self.iou)
        deltas = _TRANSFORM.get_deltas(region, target)[0] if is_object else torch.zeros(4)
        pixels = warp(image, region, self.size)[0].round().clamp(0, 255).to(torch.uint8)
        return {"image": pixels, "label": picture.label, "object": float(is_object), "deltas": deltas}


class PerClassRCNN(nn.Module):
    """Scores and moves regions of an image for each class.

    Args:
        network: the pretrained network without its classifier.
        cfg: config with the keys of LOCALISATION, MODEL.PIXEL_MEAN and PIXEL_STD.
    """

    def __init__(self, network: FeatureNetwork, cfg: CfgNode):
        super().__init__()
        classes = len(cfg.LOCALISATION.CLASSES)
        self.network = network
        self.last = list(network.spec.channels)[-1]
        channels = network.spec.channels[self.last]
        self.size = cfg.LOCALISATION.SIZE
        self.cls, self.reg = nn.Linear(channels, classes), nn.Linear(channels, classes * 4)
        for layer, std in ((self.cls, 0.01), (self.reg, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.MODEL.PIXEL_STD).view(3, 1, 1), persistent=False)

    def predict(self, warps: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R,) and box deltas (R, 4) of warped regions (R, 3, S, S), each for its own class (R,)."""
        pixels = (warps.to(self.pixel_mean.device) - self.pixel_mean) / self.pixel_std
        features = self.network.feature_maps(pixels)[self.last].mean((2, 3))
        rows = torch.arange(len(classes), device=classes.device)
        return self.cls(features)[rows, classes], self.reg(features).unflatten(1, (-1, 4))[rows, classes]

    def forward(self, batch: list[dict]) -> dict[str, Tensor]:
        """Examples of `ProposalWarps` -> losses."""
        device = self.pixel_mean.device
        classes = torch.tensor([entry["label"] for entry in batch], device=device)
        wanted = torch.tensor([entry["object"] for entry in batch], device=device)
        targets = torch.stack([entry["deltas"] for entry in batch]).to(device)
        logits, deltas = self.predict(torch.stack([entry["image"] for entry in batch]), classes)
        moved = F.smooth_l1_loss(deltas, targets, beta=1.0, reduction="none").sum(1)
        return {
            "loss_cls": F.binary_cross_entropy_with_logits(logits, wanted),
            "loss_reg": (moved * wanted).sum() / len(batch),
        }

    def refine(self, image: Tensor, classes: list[int], proposals: Tensor) -> dict:
        """Moves and scores the proposals of each class.

        Args:
            image: (3, H, W) uint8 RGB in its original size.
            classes: indices of the classes.
            proposals: (C, P, 4) in pixels of the image.

        Returns:
            {"boxes": (C, P, 4), "scores": (C, P)}, the highest score first.
        """
        regions = proposals.flatten(0, 1)
        of_class = torch.tensor(classes, device=regions.device).repeat_interleave(proposals.shape[1])
        chunks = zip(regions.split(_AT_ONCE), of_class.split(_AT_ONCE), strict=True)
        predictions = [self.predict(warp(image, boxes, self.size), kinds) for boxes, kinds in chunks]
        logits, deltas = (torch.cat(x) for x in zip(*predictions, strict=True))
        boxes = _TRANSFORM.apply_deltas(deltas, regions)
        height, width = image.shape[1:]
        boxes[:, 0::2].clamp_(0, width)
        boxes[:, 1::2].clamp_(0, height)
        scores, order = logits.sigmoid().view(proposals.shape[:2]).sort(dim=1, descending=True)
        return {"boxes": boxes.view_as(proposals).gather(1, order[..., None].expand(-1, -1, 4)), "scores": scores}


class Localiser(nn.Module):
    """RPN and R-CNN together: whole images with `classes` -> boxes and scores of each class.

    Args:
        rpn: proposes boxes.
        rcnn: moves and scores the boxes.
    """

    def __init__(self, rpn: PerClassRPN, rcnn: PerClassRCNN):
        super().__init__()
        self.rpn, self.rcnn = rpn, rcnn

    def forward(self, batch: list[dict]) -> list[dict]:
        found = []
        for entry in batch:
            proposals = self.rpn.propose(entry["image"], entry["classes"])["boxes"]
            found.append(self.rcnn.refine(entry["image"], entry["classes"], proposals))
        return found
