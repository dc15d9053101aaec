"""Normalisations that are fitted on the training set: subtracting the mean image ("pixel_mean"), and whitening ("zca").

The third kind, "mean_std", is not fitted: the model itself applies MODEL.PIXEL_MEAN and PIXEL_STD to each channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backbones.errors import InputError
from classification.data.images import ArrayImages, LabelledImages
from residet.progress import progress

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

log = logging.getLogger("residet")

KINDS = ("mean_std", "pixel_mean", "zca")
_LARGEST_ZCA = 64  # side in pixels; the matrix of larger images has more than 150 million entries


@dataclass(frozen=True)
class PixelMean:
    """Subtracts the training set's mean image (ResNet, sections 3.4 and 4.2).

    Attributes:
        mean: the mean image, (3, S, S), in 0 to 255.
    """

    mean: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in 0 to 255 -> float. If H and W are not S, the mean image is resized to H x W."""
        size = images.shape[-2:]
        mean = self.mean
        if mean.shape[-2:] != size:
            mean = functional.interpolate(mean[None], size, mode="bilinear", antialias=True)[0]
        return images - mean

    def state(self) -> dict:
        """What a checkpoint holds, for `from_state`."""
        return {"kind": "pixel_mean", "mean": self.mean}

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> PixelMean:
        """Fits the mean image on batches of (N, 3, S, S) images in 0 to 255."""
        total, count = 0, 0
        for batch in batches:
            total = total + batch.double().sum(0)
            count += len(batch)
        return cls((total / count).float())


@dataclass(frozen=True)
class Whitening:
    """Global contrast normalisation and ZCA whitening, as pylearn2 whitened CIFAR for Wide ResNet (section 3).

    First, each image loses its own mean and is scaled to the norm `SCALE`. Then the principal components of the
    training images get equal variance, except that components with a variance near or below `FILTER` stay weaker.

    Attributes:
        mean: mean of the contrast-normalised training images, (D,), with D = 3 x S x S.
        matrix: the whitening matrix, (D, D).
    """

    SCALE = 55.0  # norm of an image after contrast normalisation
    FILTER = 0.1  # added to the variance of each principal component

    mean: Tensor
    matrix: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """(..., 3, S, S) in 0 to 255 -> whitened images of the same shape, float."""
        return ((self._contrast(images) - self.mean) @ self.matrix).view(images.shape)

    @classmethod
    def _contrast(cls, images: Tensor) -> Tensor:
        flat = images.flatten(-3).float()
        flat = flat - flat.mean(-1, keepdim=True)
        norm = flat.norm(dim=-1, keepdim=True)
        return cls.SCALE * flat / torch.where(norm < 1e-8, 1.0, norm)

    def state(self) -> dict:
        """What a checkpoint holds, for `from_state`."""
        return {"kind": "zca", "mean": self.mean, "matrix": self.matrix}

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> Whitening:
        """Fits mean and matrix on batches of (N, 3, S, S) images in 0 to 255.

        Raises:
            InputError: the images are too large to whiten.
        """
        total, products, count = 0, 0, 0
        for batch in batches:
            if batch.shape[-1] > _LARGEST_ZCA:
                raise InputError(f"CLASSIFICATION.NORMALISE: zca is for images up to {_LARGEST_ZCA} px; use mean_std")
            flat = cls._contrast(batch)
            total = total + flat.double().sum(0)
            products = products + (flat.T @ flat).double()
            count += len(flat)
        mean = total / count
        values, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
        matrix = (vectors / (values.clamp(min=0) + cls.FILTER).sqrt()) @ vectors.T
        return cls(mean.float(), matrix.float())


class WhitenedImages(ArrayImages):
    """Whitened images in memory, each (3, size, size) float.

    Args:
        images: the images, uint8. `load` may raise BadImage.
        whitening: whitens the images.
        size: side to which the images are resized before, in pixels.
    """

    def __init__(self, images: LabelledImages, whitening: Whitening, size: int):
        self.classes = images.classes
        self._labels = images.labels()
        self._images = torch.empty(len(images), 3, size, size)
        resize = v2.Resize((size, size), antialias=True)
        for indices in progress(torch.arange(len(images)).split(1000), desc="whiten", leave=False):
            self._images[indices] = whitening(torch.stack([resize(images.load(int(i))[0]) for i in indices]))


FittedNormalisation = PixelMean | Whitening
_CLASSES = {"pixel_mean": PixelMean, "zca": Whitening}


def fit(kind: str, batches: Iterable[Tensor]) -> FittedNormalisation:
    """Fits a normalisation.

    Args:
        kind: "pixel_mean" or "zca".
        batches: (N, 3, S, S) images in 0 to 255.

    Raises:
        InputError: the images are too large for zca.
    """
    return _CLASSES[kind].fit(batches)


def from_state(state: Mapping, source: str) -> FittedNormalisation:
    """Makes a normalisation from what a checkpoint holds.

    Args:
        state: what `state()` of a normalisation returned.
        source: the checkpoint, for messages.

    Raises:
        InputError: `state` is of no known kind, or lacks a tensor.
    """
    kind = state.get("kind") if isinstance(state, Mapping) else None
    tensors = {k: v for k, v in state.items() if k != "kind"} if kind in _CLASSES else {}
    dimensions = {"pixel_mean": {"mean": 3}, "zca": {"mean": 1, "matrix": 2}}.get(kind)
    if dimensions is None or {k: v.ndim for k, v in tensors.items() if isinstance(v, Tensor)} != dimensions:
        raise InputError(
            f"{source}: its normalisation is none that is known here (pixel_mean, zca); use another checkpoint"
        )
    return _CLASSES[kind](**tensors)
