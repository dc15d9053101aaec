"""The per-class RPN of ResNet's appendix C: for each class a score and a box at every anchor.

Shapes: N images, C classes of an image, A anchors at a place, H x W places, D channels.
"""

from __future__ import annotations

from backbones.interface import FeatureNetwork
from detection.localisation.data import resize_short

import torch
from detectron2.config import CfgNode
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop


class PerClassRPN(nn.Module):
    """A score and a box of each class at each anchor, behind a 3x3 convolution as in Faster R-CNN.

    "The cls layer has a 1000-d output, and each dimension is binary logistic regression for predicting being or not
    being an object class; the reg layer has a 1000 x 4-d output consisting of box regressors for 1000 classes."
    Training samples a few anchors of an image for the image's own class, as many objects as background. What the paper
    leaves open: the layers stand on the last map of the network, and other classes are not trained as background.

    Args:
        network: the pretrained network without its classifier.
        cfg: config with the keys of LOCALISATION, MODEL.PIXEL_MEAN and PIXEL_STD.
    """

    def __init__(self, network: FeatureNetwork, cfg: CfgNode):
        super().__init__()
        c = cfg.LOCALISATION
        self.network = network
        self.last = list(network.spec.channels)[-1]
        stride, classes = network.spec.strides[self.last], len(c.CLASSES)
        self.anchors = DefaultAnchorGenerator(
            sizes=[list(c.ANCHOR_SIZES)], aspect_ratios=[list(c.ANCHOR_RATIOS)], strides=[stride], offset=0.5
        )
        count = self.anchors.num_anchors[0]
        self.hidden = nn.Conv2d(network.spec.channels[self.last], c.HIDDEN, 3, padding=1)
        self.cls = nn.Parameter(torch.randn(classes, count, c.HIDDEN) * 0.01)
        self.cls_bias = nn.Parameter(torch.zeros(classes, count))
        self.reg = nn.Parameter(torch.randn(classes, count * 4, c.HIDDEN) * 0.01)
        self.reg_bias = nn.Parameter(torch.zeros(classes, count * 4))
        nn.init.normal_(self.hidden.weight, std=0.01)
        nn.init.zeros_(self.hidden.bias)
        self.transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
        self.sampled, self.proposals = c.ANCHORS_PER_IMAGE, c.PROPOSALS
        self.size, self.resize, self.scales = c.SIZE, c.RESIZE, tuple(c.TEST_SCALES)
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.MODEL.PIXEL_STD).view(3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 RGB -> the network's input, on the network's device."""
        return (images.to(self.pixel_mean.device) - self.pixel_mean) / self.pixel_std

    def predict(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, C, H W A) and box deltas (N, C, H W A, 4) of the classes (N, C), and the anchors (H W A, 4)."""
        features = self.network.feature_maps(self.normalise(images))[self.last]
        anchors = self.anchors([features])[0].tensor
        hidden = F.relu(self.hidden(features)).flatten(2)  # (N, D, H W)
        logits = torch.einsum("ndp,ncad->ncpa", hidden, self.cls[classes]) + self.cls_bias[classes][:, :, None]
        deltas = torch.einsum("ndp,ncad->ncpa", hidden, self.reg[classes]) + self.reg_bias[classes][:, :, None]
        return logits.flatten(2), deltas.unflatten(-1, (-1, 4)).flatten(2, 3), anchors

    def forward(self, batch: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Crops with `boxes` and `label` -> losses in training; whole images with `classes` -> `propose` of each."""
        if not self.training:
            return [self.propose(entry["image"], entry["classes"]) for entry in batch]
        labels = torch.tensor([entry["label"] for entry in batch], device=self.pixel_mean.device)
        logits, deltas, anchors = self.predict(torch.stack([e["image"] for e in batch]), labels[:, None])
        cls, reg = [], []
        for entry, scores, moves in zip(batch, logits[:, 0], deltas[:, 0], strict=True):
            boxes = entry["boxes"].to(anchors)
            matched, state = self.matcher(pairwise_iou(Boxes(boxes), Boxes(anchors)))
            objects, background = subsample_labels(state, self.sampled, 0.5, 0)
            # 1:1: an image with few anchors on its object gives as few of the background.
            background = background[: max(len(objects), 1)]
            chosen = torch.cat([objects, background])
            wanted = torch.zeros_like(scores[chosen])
            wanted[: len(objects)] = 1
            cls.append(F.binary_cross_entropy_with_logits(scores[chosen], wanted, reduction="sum"))
            if len(objects):
                target = self.transform.get_deltas(anchors[objects], boxes[matched[objects]])
                reg.append(F.smooth_l1_loss(moves[objects], target, beta=1 / 9, reduction="sum"))
        norm = self.sampled * len(batch)
        return {"loss_cls": sum(cls) / norm, "loss_reg": (sum(reg) if reg else logits.sum() * 0) / norm}

    def propose(self, image: Tensor, classes: list[int]) -> dict:
        """The best boxes of each class in an image.

        Args:
            image: (3, H, W) uint8 RGB in its original size.
            classes: indices of the classes to localise.

        Returns:
            {"boxes": (C, P, 4) in pixels of the image, "scores": (C, P)}, the highest score first. P is at most the
            number of proposals of the config.
        """
        wanted = torch.tensor([classes], device=self.pixel_mean.device)
        found = [self._at_scale(image, side, wanted) for side in self.scales or (self.resize,)]
        boxes, scores = torch.cat([b for b, _ in found], 1), torch.cat([s for _, s in found], 1)
        height, width = image.shape[1:]
        boxes[..., 0::2].clamp_(0, width)
        boxes[..., 1::2].clamp_(0, height)
        scores, order = scores.topk(min(self.proposals, scores.shape[1]), dim=1)
        return {"boxes": boxes.gather(1, order[..., None].expand(-1, -1, 4)), "scores": scores}

    def _at_scale(self, image: Tensor, side: int, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (C, H W A, 4) in pixels of the image and probabilities (C, H W A) at one short side, in pixels.

        Without TEST_SCALES only the central crop is seen.
        """
        resized, factor = resize_short(image, side)
        x = y = 0
        if not self.scales:
            y, x = ((length - self.size) // 2 for length in resized.shape[1:])
            resized = center_crop(resized, [self.size, self.size])
        logits, deltas, anchors = self.predict(resized[None], classes)
        repeated = anchors.repeat(len(logits[0]), 1)
        boxes = self.transform.apply_deltas(deltas[0].flatten(0, 1), repeated) + anchors.new_tensor([x, y, x, y])
        return boxes.unflatten(0, deltas.shape[1:3]) / factor, logits[0].sigmoid()
