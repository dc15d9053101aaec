"""How a test looks at an image: ten crops (AlexNet), or every place at several scales (VGG; ResNet, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from backbones.resnet import ResidualNet

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import resize


class Views(Protocol):
    """(network, normalised images) -> scores (N, num_classes)."""

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor: ...


class Crops:
    """The mean of the probabilities over crops."""

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """(N, crops, 3, S, S) -> (N, num_classes)."""
        scores = network(images.flatten(0, 1)).softmax(1)
        return scores.view(len(images), -1, scores.shape[1]).mean(1)


class Dense:
    """The network as a fully convolutional one: classes at every place, their mean; over scales and both mirrorings.

    As VGG, section 3.2: class scores are averaged over the places of a map, probabilities over maps.

    Args:
        scales: short sides that the image is resized to, in pixels.
        size: side of the training images, in pixels. A place sees as much of the last feature map as they have of it.
    """

    def __init__(self, scales: Sequence[int], size: int):
        self.scales = tuple(scales)
        self.size = size

    def __call__(self, network: ResidualNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        scores = 0
        for scale in self.scales:
            resized = resize(images, [scale], antialias=True)
            both = torch.cat([resized, resized.flip(-1)])
            probabilities = self.logits(network, both).softmax(1)
            scores = scores + probabilities.view(2, len(images), -1).mean(0)
        return scores / len(self.scales)

    def logits(self, network: ResidualNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes), the mean over places."""
        last = list(network.spec.channels)[-1]
        features = network.feature_maps(images)[last]
        window = -(-self.size // network.spec.strides[last])
        window = [min(window, side) for side in features.shape[-2:]]
        places = functional.avg_pool2d(features, window, stride=1)
        return network.fc(places.mean((-2, -1)))  # fc is linear: the mean of its outputs is that of its inputs
