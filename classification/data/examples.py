"""Makes examples of labelled images: {"image": (3, S, S) uint8 RGB, or float if normalised; "label": int}.

The random numbers of a training example depend only on the seed and on the example's position in the run. A resumed run
therefore sees the same examples as a run that was never stopped, with any number of workers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from backbones.errors import InputError
from classification.data.images import IN_A_ROW, BadImage, LabelledImages
from residet.engine.loaders import seeded

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

log = logging.getLogger("residet")


class Example:
    """Makes an example of an image and its label.

    Args:
        transform: the preprocessing of the image, made by `classification.data.transforms`.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]):
        self.transform = transform

    def __call__(self, image: Tensor, label: int, seeds: Sequence[int] | None = None) -> dict:
        """Makes {"image": transformed image, "label": label}.

        Args:
            image: (3, H, W) uint8 RGB.
            label: the class.
            seeds: numbers from which the random numbers of the transform follow; None leaves them to the process.
        """
        with seeded(seeds) if seeds else contextlib.nullcontext():
            return {"image": self.transform(image), "label": label}


class TrainingImages(Dataset):
    """The training examples. The key of an example is (position in the run, index of the image).

    If an image cannot be decoded, the next image takes its place. Each example has the key "bad": a list with a message
    for each image that was skipped.

    Args:
        images: the images of the training split.
        example: makes an example of an image.
        seed: seed of the augmentation.

    Raises:
        InputError: `IN_A_ROW` images in a row cannot be decoded.
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
        raise InputError(f"{len(bad)} images in a row cannot be decoded, the last: {bad[-1]}; --scan lists all")


class ValImages(Dataset):
    """The examples of val, by the index of the image. An image that cannot be decoded raises BadImage.

    Args:
        images: the images of the val split.
        example: makes an example of an image.
    """

    def __init__(self, images: LabelledImages, example: Example):
        self.images = images
        self.example = example

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return self.example(*self.images.load(index))


class GoodImages:
    """The batches of a training loader. Takes the messages on bad images out, logs each once, and counts them.

    Args:
        loader: batches with the key "bad", as `collate` makes them.
        limit: the largest number of bad images with which the run goes on.

    Raises:
        InputError: more than `limit` images cannot be decoded.
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
                    f"{len(seen)} images cannot be decoded, more than CLASSIFICATION.MAX_BAD_IMAGES {self.limit}, for "
                    f"example: {sorted(seen)[-1]}; --scan lists all"
                )
            yield batch


def collate(examples: list[dict]) -> dict:
    """Makes a batch of training examples. "bad" becomes one list of messages."""
    bad = [problem for example in examples for problem in example.pop("bad")]
    return default_collate(examples) | {"bad": bad}
