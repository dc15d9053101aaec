"""Builds loaders of batches {"image": (N, 3, S, S) uint8 RGB, or float if normalised; "label": (N,) int64}."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.read import Weights
from classification.data import normalise
from classification.data.datasets import open_split
from classification.data.examples import Example, GoodImages, TrainingImages, ValImages, collate
from classification.data.images import LabelledImages
from classification.data.shards import Shards, TrainingShards, ValShards
from classification.data.transforms import centre_transform, train_transform, val_transform
from residet.engine.loaders import Loader, PositionSampler, loader_options
from residet.progress import progress

from detectron2.config import CfgNode
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch import Tensor

_NORMALISATION = "normalisation.pth"
_FIT_AT_MOST = 100_000  # largest number of images that a normalisation is fitted on


def build_train_loader(cfg: CfgNode, start_iter: int = 0) -> GoodImages:
    """Endless, shuffled micro-batches of one process.

    A micro-batch has SOLVER.IMS_PER_BATCH / processes / SOLVER.ACCUMULATE images.

    Args:
        cfg: the config.
        start_iter: the first iteration of the run to make batches for.
    """
    micro_batches = cfg.SOLVER.ACCUMULATE
    batch = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // micro_batches
    images, fitted = open_split(cfg, "train"), read_normalisation(cfg)
    options = loader_options(cfg) | {"collate_fn": collate}
    if isinstance(images, Shards):
        example = Example(train_transform(cfg, fitted))
        data = TrainingShards(images, example, cfg.SEED, start_iter * micro_batches, batch)
        loader = Loader(data, batch, drop_last=True, **options)
    else:
        images, fitted = _whitened(images, fitted, cfg.CLASSIFICATION.RESIZE)
        data = TrainingImages(images, Example(train_transform(cfg, fitted)), cfg.SEED)
        sampler = PositionSampler(TrainingSampler(len(images), seed=cfg.SEED), start_iter * micro_batches * batch)
        loader = Loader(data, batch, sampler=sampler, drop_last=True, **options)
    return GoodImages(loader, cfg.CLASSIFICATION.MAX_BAD_IMAGES)


def build_val_loader(cfg: CfgNode, fitted: normalise.FittedNormalisation | None = None) -> Loader | SizedLoader:
    """Batches in which every image of val comes once. Each process gets a share.

    The "dense" test has batches of one image, since the images differ in size.

    Args:
        cfg: the config.
        fitted: the normalisation that was fitted on the training set; None for mean and standard deviation.
    """
    images = open_split(cfg, "val")
    batch = 1 if cfg.CLASSIFICATION.TEST.VIEWS == "dense" else cfg.SOLVER.IMS_PER_BATCH
    batch = max(batch // comm.get_world_size() // cfg.SOLVER.ACCUMULATE, 1)
    if isinstance(images, Shards):
        loader = Loader(ValShards(images, Example(val_transform(cfg, fitted))), batch, **loader_options(cfg))
        return SizedLoader(loader, -(-len(images) // batch // comm.get_world_size()))
    images, fitted = _whitened(images, fitted, cfg.CLASSIFICATION.RESIZE)
    data = ValImages(images, Example(val_transform(cfg, fitted)))
    return Loader(data, batch, sampler=InferenceSampler(len(data)), **loader_options(cfg))


class SizedLoader:
    """Batches with a length, for a progress bar.

    Args:
        batches: an iterable without a length.
        length: number of batches; an estimate is enough.
    """

    def __init__(self, batches, length: int):
        self.batches = batches
        self.length = length

    def __iter__(self) -> Iterator[dict]:
        return iter(self.batches)

    def __len__(self) -> int:
        return self.length


def _whitened(images: LabelledImages, fitted: normalise.FittedNormalisation | None, size: int):
    """Whitens the images at once if `fitted` is a whitening, which costs too much to do for every example.

    Returns:
        the images, and the normalisation that is still to be done on each example.
    """
    if isinstance(fitted, normalise.Whitening):
        return normalise.WhitenedImages(images, fitted, size), None
    return images, fitted


def resolve_normalisation(cfg: CfgNode, weights: Weights | None) -> None:
    """Writes the fitted normalisation of the run to OUTPUT_DIR; writes nothing for mean and standard deviation.

    Args:
        cfg: the config.
        weights: the weights that the run starts from, with their normalisation; None fits one on the training set.

    Raises:
        InputError: the normalisation cannot be fitted on the data, or was fitted on images of another size.
    """
    c = cfg.CLASSIFICATION
    if c.NORMALISE == "mean_std":
        return
    if comm.is_main_process():
        fitted = normalise.from_state(weights.normalisation, weights.path) if weights else _fit(cfg)
        if isinstance(fitted, normalise.Whitening) and len(fitted.mean) != 3 * c.RESIZE**2:
            raise InputError(
                f"CLASSIFICATION.RESIZE: {c.RESIZE} is not the size of the images that zca was fitted on; use that size"
            )
        save_checkpoint(fitted.state(), Path(cfg.OUTPUT_DIR) / _NORMALISATION)
    comm.synchronize()


def _fit(cfg: CfgNode) -> normalise.FittedNormalisation:
    images, example = open_split(cfg, "train"), Example(centre_transform(cfg))
    if isinstance(images, Shards):
        transform = centre_transform(cfg)
        single = (transform(image)[None] for image, _ in itertools.islice(images.good(), _FIT_AT_MOST))
        return normalise.fit(cfg.CLASSIFICATION.NORMALISE, progress(single, desc="fit", leave=False))
    every = -(-len(images) // _FIT_AT_MOST)
    sampler = [(0, i) for i in range(0, len(images), every)]
    data = TrainingImages(images, example, cfg.SEED)
    loader = Loader(data, 100, sampler=sampler, collate_fn=collate, **loader_options(cfg))
    batches: Iterator[Tensor] = (batch["image"] for batch in progress(loader, desc="fit", leave=False))
    return normalise.fit(cfg.CLASSIFICATION.NORMALISE, batches)


def read_normalisation(cfg: CfgNode) -> normalise.FittedNormalisation | None:
    """Reads the fitted normalisation of the run from OUTPUT_DIR; None for mean and standard deviation."""
    if cfg.CLASSIFICATION.NORMALISE == "mean_std":
        return None
    path = Path(cfg.OUTPUT_DIR) / _NORMALISATION
    return normalise.from_state(read_checkpoint(path), str(path))
