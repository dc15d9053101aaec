"""Scores of whole images, by a classifier that is applied at every place of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backbones.resnet import ResidualNet

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import resize


class Dense:
    """Applies the network at every place of an image, as if fully convolutional (VGG, section 3.2; ResNet, Table 4).

    The logits are averaged over the places of a feature map. The probabilities are then averaged over the scales and
    over the image and its mirror image.

    Args:
        scales: short sides to which the image is resized, in pixels.
        resizing: arguments of torchvision's `resize`: interpolation and antialias.
        size: side of the training images, in pixels. A place is a window of the last feature map as large as the last
            feature map of a training image.
    """

    def __init__(self, scales: Sequence[int], size: int, resizing: Mapping):
        self.scales = tuple(scales)
        self.resizing = resizing
        self.size = size

    def __call__(self, network: ResidualNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        scores = 0
        for scale in self.scales:
            resized = resize(images, [scale], **self.resizing)
            both = torch.cat([resized, resized.flip(-1)])
            probabilities = self.logits(network, both).softmax(1)
            scores = scores + probabilities.view(2, len(images), -1).mean(0)
        return scores / len(self.scales)

    def logits(self, network: ResidualNet, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes), the mean of the logits over all places."""
        last = list(network.spec.channels)[-1]
        features = network.feature_maps(images)[last]
        window = -(-self.size // network.spec.strides[last])
        window = [min(window, side) for side in features.shape[-2:]]
        places = functional.avg_pool2d(features, window, stride=1)
        return network.fc(places.mean((-2, -1)))  # fc is linear: averaging inputs averages outputs
