"""torchvision's VGG, which the ResNet paper's detection tables are measured against, as a row of the catalogue."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from backbones.spec import Figure

import torchvision
from torch import nn


@dataclass(frozen=True)
class VGGSpec:
    """A VGG network; the attributes are those of `ArchSpec`."""

    name: str
    figures: tuple[Figure, ...] = ()

    # The last map of each of the five groups of convolutions, before its pooling.
    channels: ClassVar[dict[str, int]] = {"conv1": 64, "conv2": 128, "conv3": 256, "conv4": 512, "conv5": 512}
    strides: ClassVar[dict[str, int]] = {"conv1": 1, "conv2": 2, "conv3": 4, "conv4": 8, "conv5": 16}
    num_classes: ClassVar[int] = 1000
    input_size: ClassVar[int] = 224

    @property
    def timm(self) -> str:
        """The name of the same network in timm and torchvision."""
        return self.name


def build_vgg(spec: VGGSpec, num_classes: int = 1000) -> nn.Module:
    """torchvision's own network: (N, 3, H, W) -> (N, num_classes)."""
    return torchvision.models.get_model(spec.name, weights=None, num_classes=num_classes)


def vgg_groups(features: nn.Sequential) -> dict[str, nn.Sequential]:
    """{"conv1": …, … "conv5": …}: the groups of convolutions in a VGG's `features`, by the name of the map they make.

    Each but the first begins with the pooling before it: (N, C, H, W) -> (N, C', H/2, W/2), rounded down. The pooling
    after the last belongs to none. Where `features` was cut short, the groups that are left.
    """
    ends = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    if ends[-1:] != [len(features) - 1]:
        ends.append(len(features))
    groups = [features[a:b] for a, b in itertools.pairwise([0, *ends])]
    return dict(zip(VGGSpec.channels, groups, strict=False))
