"""Labelled images -> examples {"image": (3, S, S) uint8 RGB, or float once normalised; "label": int}.

Every training example has random numbers of its own, drawn from its place in the run, so that a resumed run sees what
the first would have seen, whatever the workers do.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

from backbones.errors import InputError
from classification.images import IN_A_ROW, BadImage, LabelledImages

import numpy as np
import torch
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

log = logging.getLogger("residet")


@contextlib.contextmanager
def seeded(numbers: Sequence[int]) -> Iterator[None]:
    """Within, torch's random numbers on the CPU follow from `numbers` alone."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
    try:
        yield
    finally:
        torch.set_rng_state(state)


class Example:
    """(image, label) -> what a loader collates.

    Args:
        transform: of `classification.transforms`.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]):
        self.transform = transform

    def __call__(self, image: Tensor, label: int, seeds: Sequence[int] | None = None) -> dict:
        with seeded(seeds) if seeds else contextlib.nullcontext():
            return {"image": self.transform(image), "label": label}


class TrainingImages(Dataset):
    """Examples by (position in the run, index of the image); bad images are passed over and named.

    Args:
        images: of the training split.
        example: makes an example of one.
        seed: of the augmentation.
    """

    def __init__(self, images: LabelledImages, example: Example, seed: int):
        self.images = images
        self.example = example
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        bad = []
        for attempt in range(IN_A_ROW):
            try:
                image, label = self.images.load((index + attempt) % len(self.images))
            except BadImage as e:
                bad.append(str(e))
                continue
            return self.example(image, label, (self.seed, position)) | {"bad": bad}
        raise InputError(f"{len(bad)} images in a row cannot be decoded, the last: {bad[-1]}; see them all with --scan")


class PositionSampler(Sampler):
    """A process's share of the endless shuffled stream, from one of its images on, with positions in the stream."""

    def __init__(self, size: int, seed: int, start: int):
        self.sampler = TrainingSampler(size, seed=seed)
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for own, index in enumerate(itertools.islice(self.sampler, self.start, None), self.start):
            yield own * comm.get_world_size() + comm.get_rank(), index


class ValImages(Dataset):
    """Examples by index."""

    def __init__(self, images: LabelledImages, example: Example):
        self.images = images
        self.example = example

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return self.example(*self.images.load(index))


class GoodImages:
    """A training loader's batches, without the names of the bad images, which are logged and counted.

    Args:
        loader: of examples with "bad".
        limit: more bad images than these end the run.

    Raises:
        InputError: there were more than `limit`.
    """

    def __init__(self, loader: DataLoader, limit: int):
        self.loader = loader
        self.limit = limit

    def __iter__(self) -> Iterator[dict]:
        seen: set[str] = set()
        for batch in self.loader:
            for problem in batch.pop("bad"):
                if problem not in seen:
                    seen.add(problem)
                    log.warning("skipped, %d so far: %s", len(seen), problem)
            if len(seen) > self.limit:
                raise InputError(
                    f"{len(seen)} images cannot be decoded, more than CLASSIFICATION.MAX_BAD_IMAGES {self.limit}; the "
                    f"last: {sorted(seen)[-1]}; see them all with --scan"
                )
            yield batch


def collate(examples: list[dict]) -> dict:
    """A batch of training examples; the names of bad images side by side."""
    bad = [problem for example in examples for problem in example.pop("bad")]
    return default_collate(examples) | {"bad": bad}
