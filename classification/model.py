"""A network in the form in which detectron2's trainer and evaluation loop call a model."""

from __future__ import annotations

from collections.abc import Callable

from classification.views import Views
from residet.engine.late import put_late

import torch
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    """Takes a batch, and returns losses in training and scores in evaluation.

    The state dict of the model is the state dict of the network, so that a checkpoint holds torchvision's names.

    Args:
        network: (N, 3, H, W) -> (N, num_classes) logits.
        mean, std: subtracted from the pixels, and then divided by: a value for R, G and B each, for pixels in 0 to 255.
        label_smoothing: share of each target that the loss spreads evenly over all classes.
        mix: mixup or cutmix: (images, labels) -> (mixed images, mixed labels as (N, num_classes)); None for neither.
        views: computes the scores of test images, such as the mean over crops; None returns the logits.
        channels_last: stores network and training images in memory format NHWC.
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
        """(..., 3, H, W) in 0 to 255 on any device -> the network's input, on the network's device."""
        images = images.to(self.pixel_mean.device, non_blocking=True)
        # In place, since on a CPU memory for further batches takes longer than the arithmetic.
        return images.to(self.pixel_mean.dtype, copy=True).sub_(self.pixel_mean).div_(self.pixel_std)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """{"image": (N, 3, H, W), "label": (N,)} -> {"loss_cls": ()} in training, (N, num_classes) in evaluation.

        With `views`, "image" has the shape that `views` takes.
        """
        images = self.normalise(batch["image"])
        if not self.training:
            return self.views(self.network, images) if self.views else self.network(images)
        labels = batch["label"].to(images.device, non_blocking=True)
        targets = labels
        if self.mix:
            images, targets = self.mix(images, labels)
        logits = self.network(images.contiguous(memory_format=self.memory_format))
        # Against the labels before mixing. A mixed image shows two classes, so its error is only a rough figure.
        error = 100 * (logits.argmax(1) != labels).float().mean()
        put_late("train_error", error)
        return {"loss_cls": functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)}
