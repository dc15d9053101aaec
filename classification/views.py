"""Scores of a test image over several views: ten crops (AlexNet). `backbones.dense` has every place (VGG; ResNet)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class Views(Protocol):
    """Computes the scores of test images from several views of each image."""

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Returns (N, num_classes) scores of N normalised images. The class says which shape `images` has."""
        ...


class Crops:
    """Averages the probabilities over the crops of an image (AlexNet, section 4.1)."""

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """(N, crops, 3, S, S) -> (N, num_classes)."""
        # One crop of each image at a time: the activations take no more memory than in training.
        return torch.stack([network(crop).softmax(1) for crop in images.unbind(1)]).mean(0)
