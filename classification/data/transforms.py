"""Preprocessing of images: crops, augmentation and noise, chosen by the keys of CLASSIFICATION.

The operations are torchvision.transforms.v2 on tensors. docs/benchmarks.md compares other libraries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torchvision.transforms import v2

# Principal components of ImageNet's RGB values in 0 to 1, from fb.resnet.torch: the standard deviation of each, and the
# components as columns.
_PCA_STD = (0.2175, 0.0188, 0.0045)
_PCA_COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))

CROPS = ("scale", "short_side", "pad", "reflect", "none")
COLOURS = ("none", "pca", "jitter")
VIEWS = ("crop", "10crop", "dense")
# CLASSIFICATION.INTERPOLATION -> arguments of torchvision's resizing transforms.
INTERPOLATIONS = {
    "bilinear": {"interpolation": v2.InterpolationMode.BILINEAR, "antialias": True},
    "bicubic": {"interpolation": v2.InterpolationMode.BICUBIC, "antialias": True},
    "bicubic_aliased": {"interpolation": v2.InterpolationMode.BICUBIC, "antialias": False},
}


class PCANoise(nn.Module):
    """Noise along the principal components of ImageNet's colours (AlexNet, section 4.1; ResNet, section 3.4).

    Args:
        std: standard deviation of the normal distribution from which the factor of each component is drawn.
    """

    def __init__(self, std: float = 0.1):
        super().__init__()
        self.std = std
        self._components = torch.tensor(_PCA_COMPONENTS) * torch.tensor(_PCA_STD)

    def forward(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 -> (3, H, W) uint8."""
        shift = 255 * self._components @ (torch.randn(3) * self.std)
        return (image + shift.view(3, 1, 1)).round_().clamp_(0, 255).to(torch.uint8)


def train_transform(cfg: CfgNode, normalise: Callable[[Tensor], Tensor] | None = None) -> Callable[[Tensor], Tensor]:
    """The augmentation of training images: (3, H, W) uint8 -> (3, SIZE, SIZE) uint8, or float with `normalise`.

    Args:
        cfg: the config, with the keys of CLASSIFICATION.
        normalise: a fitted normalisation, applied after the changes of colour and before random erasing. With CROP
            "pad" and "reflect" the image is normalised before padding, cropping and mirroring, otherwise after.
    """
    c = cfg.CLASSIFICATION
    resizing = INTERPOLATIONS[c.INTERPOLATION]
    fixed = v2.Resize((c.RESIZE, c.RESIZE), **resizing)
    # The value that becomes 0 by normalisation: the papers pad with zeros.
    mean = [round(value) for value in cfg.MODEL.PIXEL_MEAN] if c.NORMALISE == "mean_std" else [0.0] * 3
    crop = {
        "scale": lambda: [v2.RandomResizedCrop(c.SIZE, scale=tuple(c.CROP_AREA), **resizing)],
        "short_side": lambda: [
            v2.RandomResize(c.SHORT_SIDE[0], c.SHORT_SIDE[1] + 1, **resizing),
            v2.RandomCrop(c.SIZE),
        ],
        "pad": lambda: [v2.RandomCrop(c.SIZE, padding=c.PAD, fill=mean)],
        "reflect": lambda: [v2.RandomCrop(c.SIZE, padding=c.PAD, padding_mode="reflect")],
        "none": lambda: [v2.Resize((c.SIZE, c.SIZE), **resizing)],
    }[c.CROP]()
    colour = {
        "none": [],
        "pca": [PCANoise()],
        "jitter": [v2.ColorJitter(0.4, 0.4, 0.4), PCANoise()],
    }[c.COLOUR]
    trivial = [v2.TrivialAugmentWide(fill=mean)] if c.TRIVIAL_AUGMENT else []
    flip = [v2.RandomHorizontalFlip()] if c.FLIP else []
    erase = [v2.RandomErasing(c.RANDOM_ERASING, value=mean)] if c.RANDOM_ERASING else []
    normalisation = [normalise] if normalise else []
    if c.CROP in ("pad", "reflect"):
        return v2.Compose([fixed, *trivial, *colour, *normalisation, *crop, *flip, *erase])
    return v2.Compose([*crop, *flip, *trivial, *colour, *normalisation, *erase])


def centre_transform(cfg: CfgNode) -> Callable[[Tensor], Tensor]:
    """What a normalisation is fitted on, without augmentation: (3, H, W) -> (3, S, S).

    With CROP "pad" and "reflect" the result is the whole image before padding, and S is RESIZE. Otherwise the result is
    the centre of the image, and S is SIZE.
    """
    c = cfg.CLASSIFICATION
    resizing = INTERPOLATIONS[c.INTERPOLATION]
    if c.CROP in ("pad", "reflect"):
        return v2.Resize((c.RESIZE, c.RESIZE), **resizing)
    return v2.Compose([v2.Resize(c.RESIZE, **resizing), v2.CenterCrop(c.SIZE)])


def val_transform(cfg: CfgNode, normalise: Callable[[Tensor], Tensor] | None = None) -> Callable[[Tensor], Tensor]:
    """The preprocessing of test images, by TEST.VIEWS: (3, H, W) -> (3, S, S) for "crop", (10, 3, S, S) for "10crop".

    For "dense" the size stays as it is, (3, H, W). S is TEST.SIZE, or SIZE if TEST.SIZE is 0.

    Args:
        cfg: the config, with the keys of CLASSIFICATION.
        normalise: a fitted normalisation, applied last; None for none.
    """
    c = cfg.CLASSIFICATION
    normalisation = [normalise] if normalise else []
    if c.TEST.VIEWS == "dense":
        return v2.Compose(normalisation or [v2.Identity()])
    size = c.TEST.SIZE or c.SIZE
    resize = v2.Resize(c.RESIZE, **INTERPOLATIONS[c.INTERPOLATION])
    if c.TEST.VIEWS == "crop":
        return v2.Compose([resize, v2.CenterCrop(size), *normalisation])
    return v2.Compose([resize, v2.TenCrop(size), torch.stack, *normalisation])
