"""A network as detectron2's trainer and evaluation loop want a model."""

from __future__ import annotations

from collections.abc import Callable

from classification.views import Views

import torch
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    """Batch -> losses in training, scores in evaluation. Its state dict is the network's, under torchvision's names.

    Args:
        network: (N, 3, H, W) -> (N, num_classes).
        mean, std: of the pixels that the batches hold, RGB.
        label_smoothing: of the loss.
        mix: (images, labels) -> both mixed, labels as (N, num_classes): mixup or cutmix.
        views: how a test image is looked at; its logits are the scores where None.
        channels_last: the memory format of images and network.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: list[float],
        std: list[float],
        *,
        label_smoothing: float = 0.0,
        mix: Callable | None = None,
        views: Views | None = None,
        channels_last: bool = False,
    ):
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.label_smoothing = label_smoothing
        self.mix = mix
        self.views = views
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        return self.network.load_state_dict(*args, **kwargs)

    def normalise(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in 0 to 255 on any device -> what the network takes, on its own."""
        images = images.to(self.pixel_mean.device, non_blocking=True)
        return (images - self.pixel_mean) / self.pixel_std

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """{"image": (N, 3, H, W), "label": (N,)} -> {"loss_cls": ()} or (N, num_classes)."""
        images = self.normalise(batch["image"])
        if not self.training:
            return self.views(self.network, images) if self.views else self.network(images)
        labels = batch["label"].to(images.device, non_blocking=True)
        targets = labels
        if self.mix:
            images, targets = self.mix(images, labels)
        logits = self.network(images.contiguous(memory_format=self.memory_format))
        # Of the label before mixing, as far as it can be told.
        error = 100 * (logits.argmax(1) != labels).float().mean()
        get_event_storage().put_scalar("train_error", error.item())
        return {"loss_cls": functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)}
