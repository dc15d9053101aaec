"""Labelled images -> examples {"image": (3, S, S) uint8 RGB, or float once normalised; "label": int}.

Every training example has random numbers of its own, drawn from its place in the run, so that a resumed run sees what
the first would have seen, whatever the workers do.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from backbones.errors import InputError
from classification.data.images import IN_A_ROW, BadImage, LabelledImages
from residet.loaders import seeded

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

log = logging.getLogger("residet")


class Example:
    """(image, label) -> what a loader collates.

    Args:
        transform: of `classification.data.transforms`.
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
