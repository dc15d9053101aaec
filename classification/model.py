"""A residual network as detectron2's trainer and evaluation loop want a model."""

from __future__ import annotations

from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec

import torch
from torch import Tensor
from torch.nn import functional


class Classifier(ResidualNet):
    """Batch -> losses in training, logits in evaluation. Its state dict is the network's, under torchvision's names.

    Args:
        spec: the network.
        num_classes: outputs.
        mean, std: of the pixels in 0 to 255, RGB.
    """

    def __init__(self, spec: ArchSpec, num_classes: int, mean: list[float], std: list[float]):
        super().__init__(spec, num_classes)
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """{"image": (N, 3, H, W) uint8, "label": (N,)} -> {"loss_cls": ()} or (N, num_classes)."""
        device = self.pixel_mean.device
        image = batch["image"].to(device, non_blocking=True)
        logits = super().forward((image - self.pixel_mean) / self.pixel_std)
        if not self.training:
            return logits
        return {"loss_cls": functional.cross_entropy(logits, batch["label"].to(device))}
