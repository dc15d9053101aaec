"""Normalisation that is fitted on the training set: the mean image, and whitening.

Mean and standard deviation of each channel, the third kind, are MODEL.PIXEL_MEAN and PIXEL_STD, and the model's.
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
_LARGEST_ZCA = 64  # px; beyond that the matrix has more than 150 million entries


@dataclass(frozen=True)
class PixelMean:
    """Subtracts the training set's mean image (ResNet, sections 3.4 and 4.2).

    Attributes:
        mean: (3, S, S).
    """

    mean: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in 0 to 255 -> float; the mean image is resized where H and W are not S."""
        size = images.shape[-2:]
        mean = self.mean
        if mean.shape[-2:] != size:
            mean = functional.interpolate(mean[None], size, mode="bilinear", antialias=True)[0]
        return images - mean

    def state(self) -> dict:
        return {"kind": "pixel_mean", "mean": self.mean}

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> PixelMean:
        """From batches of (N, 3, S, S)."""
        total, count = 0, 0
        for batch in batches:
            total = total + batch.double().sum(0)
            count += len(batch)
        return cls((total / count).float())


@dataclass(frozen=True)
class Whitening:
    """Global contrast normalisation and ZCA whitening, as pylearn2 whitened CIFAR for Wide ResNet (section 3).

    Each image loses its mean and is scaled to norm `SCALE`; then the principal components get equal variance, those
    weaker than `FILTER` less so.

    Attributes:
        mean: (D,) of the contrast-normalised training images, D = 3 x S x S.
        matrix: (D, D).
    """

    SCALE = 55.0
    FILTER = 0.1

    mean: Tensor
    matrix: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """(..., 3, S, S) -> the same, float."""
        return ((self._contrast(images) - self.mean) @ self.matrix).view(images.shape)

    @classmethod
    def _contrast(cls, images: Tensor) -> Tensor:
        flat = images.flatten(-3).float()
        flat = flat - flat.mean(-1, keepdim=True)
        norm = flat.norm(dim=-1, keepdim=True)
        return cls.SCALE * flat / torch.where(norm < 1e-8, 1.0, norm)

    def state(self) -> dict:
        return {"kind": "zca", "mean": self.mean, "matrix": self.matrix}

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> Whitening:
        """From batches of (N, 3, S, S).

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
    """Whitened images, (3, size, size) float, held in memory."""

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
    """Fits `kind`, "pixel_mean" or "zca"."""
    return _CLASSES[kind].fit(batches)


def from_state(state: Mapping, source: str) -> FittedNormalisation:
    """From what a checkpoint holds.

    Raises:
        InputError: it is none of ours.
    """
    kind = state.get("kind") if isinstance(state, Mapping) else None
    tensors = {k: v for k, v in state.items() if k != "kind"} if kind in _CLASSES else {}
    wanted = {"pixel_mean": {"mean": 3}, "zca": {"mean": 1, "matrix": 2}}.get(kind)
    if wanted is None or {k: v.ndim for k, v in tensors.items() if isinstance(v, Tensor)} != wanted:
        raise InputError(f"{source}: its normalisation is none that is known here")
    return _CLASSES[kind](**tensors)
