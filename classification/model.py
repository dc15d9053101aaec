"""A network as detectron2's trainer and evaluation loop want a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    """Batch -> losses in training, logits in evaluation. Its state dict is the network's, under torchvision's names.

    Args:
        network: (N, 3, H, W) -> (N, num_classes).
        mean, std: of the pixels in 0 to 255, RGB.
    """

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.network = network
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        return self.network.load_state_dict(*args, **kwargs)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """{"image": (N, 3, H, W) uint8, "label": (N,)} -> {"loss_cls": ()} or (N, num_classes)."""
        device = self.pixel_mean.device
        image = batch["image"].to(device, non_blocking=True)
        logits = self.network((image - self.pixel_mean) / self.pixel_std)
        if not self.training:
            return logits
        return {"loss_cls": functional.cross_entropy(logits, batch["label"].to(device))}
