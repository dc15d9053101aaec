"""Reads WebDataset shards: tar files of labelled images, on the disk or in object storage, from front to back."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from backbones.errors import InputError
from classification.data.images import IN_A_ROW, BadImage, decode

import braceexpand
import webdataset
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.gopen import Pipe, gopen_schemes

_IMAGES = ("jpg", "jpeg", "png", "webp")
_SCHEME = re.compile(r"([a-z0-9]+):")
_BUFFER = 1000  # number of images that a worker holds and draws the next image from


def _open_s3(url: str, mode: str = "rb", bufsize: int = 8192) -> Pipe:
    return Pipe(["aws", "s3", "cp", url, "-"], mode=mode, bufsize=bufsize)


gopen_schemes.setdefault("s3", _open_s3)


class Shards:
    """The shards of one split.

    Args:
        root: folder or URL of the shards. A name in `pattern` that is a URL itself stands alone.
        pattern: names of the shards, with braces: train-{000000..000146}.tar.
        images: number of images in all shards; 0 counts the images, if the shards are files.
        classes: names of the classes 0, 1, …

    Raises:
        InputError: a shard does not exist, is no tar file, or has a URL that cannot be read; or `images` is 0 and the
            shards are not files.
    """

    def __init__(self, root: str, pattern: str, images: int, classes: tuple[str, ...]):
        self.classes = classes
        try:
            names = list(braceexpand.braceexpand(pattern))
        except ValueError as e:
            raise InputError(f"CLASSIFICATION.SHARDS: {pattern}: {e}") from e
        self.urls = [name if _SCHEME.match(name) else f"{root.rstrip('/')}/{name}" for name in names]
        for url in self.urls:
            scheme = _SCHEME.match(url)
            # `pipe:` runs a command, and a config may come from anyone.
            if scheme and (scheme[1] == "pipe" or scheme[1] not in (*gopen_schemes, "file")):
                schemes = ", ".join(sorted(set(gopen_schemes) - {"pipe", "__default__"}))
                raise InputError(f"CLASSIFICATION.SHARDS: {url}: shards are files or URLs of {schemes}")
            if not scheme and not Path(url).is_file():
                raise InputError(f"CLASSIFICATION.SHARDS: {url}: no such file")
        self._images = images or self._count()

    def _count(self) -> int:
        if any(_SCHEME.match(url) for url in self.urls):
            raise InputError(
                "CLASSIFICATION.SHARDS: give the number of images in the shards, TRAIN_IMAGES and VAL_IMAGES"
            )
        try:
            return sum(map(_count_in, self.urls))
        except (tarfile.TarError, OSError) as e:
            raise InputError(f"CLASSIFICATION.SHARDS: {e}; check the shards: is each a tar file, and complete?") from e

    def __len__(self) -> int:
        return self._images

    def read(self, urls: Iterable[str]) -> Iterator[dict]:
        """The samples of the shards at `urls`, in order, as webdataset gives them.

        Yields:
            {"__url__": shard, "__key__": name of the sample, "jpg": bytes, "cls": bytes}.

        Raises:
            InputError: a shard cannot be read.
        """
        try:
            yield from webdataset.tarfile_samples({"url": url} for url in urls)
        except (tarfile.TarError, OSError, ValueError) as e:
            raise InputError(f"CLASSIFICATION.SHARDS: cannot be read ({' '.join(str(e).split())})") from e

    def good(self) -> Iterator[tuple[Tensor, int]]:
        """Yields every image that can be decoded, (3, H, W) uint8 RGB, with its label, in order."""
        for sample in self.read(self.urls):
            with contextlib.suppress(BadImage):
                yield self.decode(sample)

    def decode(self, sample: dict) -> tuple[Tensor, int]:
        """The image of a sample, (3, H, W) uint8 RGB, and its label.

        Raises:
            BadImage: the sample has no image, its image cannot be decoded, or its `cls` is not the number of a class.
        """
        name = f"{sample['__url__']}: {sample['__key__']}"
        kind = next((kind for kind in _IMAGES if kind in sample), None)
        label = sample.get("cls", b"").decode(errors="replace").strip()
        if kind is None or not label.isdecimal() or int(label) >= len(self.classes):
            raise BadImage(
                f"{name}: the sample needs one of {', '.join(_IMAGES)}, and a cls from 0 to {len(self.classes) - 1}"
            )
        return decode(sample[kind], f"{name}.{kind}"), int(label)


def _count_in(path: str) -> int:
    with tarfile.open(path) as archive:
        return sum(name.endswith(".cls") for name in archive.getnames())


class TrainingShards(IterableDataset):
    """The endless, shuffled examples of one process, from batch number `start` on.

    In each epoch every worker of every process gets some shards at random, and no other worker reads the same shards. A
    worker passes over the images before batch `start` without decoding them, so that a resumed run sees the same
    examples as a run that was never stopped.

    If an image cannot be decoded, the next image takes its place. Each example has the key "bad": a list with a message
    for each image that was skipped.

    Args:
        shards: the shards of the training split.
        example: makes an example: (image, label, seeds) -> dict.
        seed: seed of the order and of the augmentation.
        start: number of the first batch.
        batch: number of examples in a batch.

    Raises:
        InputError: there are more workers than shards, `IN_A_ROW` images in a row cannot be decoded, or the shards of a
            worker hold no image.
    """

    def __init__(self, shards: Shards, example, seed: int, start: int, batch: int):
        self.shards = shards
        self.example = example
        self.seed = seed
        self.start = start
        self.batch = batch

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # The loader takes batches from its workers in turn. It begins with worker 0 in a resumed run, too, so worker 0
        # continues the stream of the worker whose turn batch `start` is.
        role = (worker + self.start) % workers
        done = len(range(role, self.start, workers)) * self.batch
        stream = comm.get_rank() * workers + role
        streams = comm.get_world_size() * workers
        if len(self.shards.urls) < streams:
            raise InputError(
                f"CLASSIFICATION.SHARDS: {len(self.shards.urls)} shards for {streams} readers (processes x "
                "DATALOADER.NUM_WORKERS); lower DATALOADER.NUM_WORKERS or cut smaller shards"
            )
        bad: list[str] = []
        for position, sample in enumerate(self._endless(stream, streams)):
            if position < done:
                continue
            try:
                image, label = self.shards.decode(sample)
            except BadImage as e:
                bad.append(str(e))
                if len(bad) == IN_A_ROW:
                    raise InputError(
                        f"{IN_A_ROW} images in a row cannot be decoded, the last: {e}; --scan lists all"
                    ) from e
                continue
            # This good image also stands in for the bad images before it: every place in the stream gets an example.
            for place in range(position - len(bad), position + 1):
                yield self.example(image, label, (self.seed, stream, place)) | {"bad": bad}
                bad = []

    def _endless(self, stream: int, streams: int) -> Iterator[dict]:
        for epoch in itertools.count():
            order = random.Random(f"{self.seed} {epoch}")
            urls = order.sample(self.shards.urls, len(self.shards.urls))[stream::streams]
            within = random.Random(f"{self.seed} {epoch} {stream}")
            empty = True
            for sample in webdataset.shuffle(_BUFFER, initial=_BUFFER, rng=within)(self.shards.read(urls)):
                empty = False
                yield sample
            if empty:
                raise InputError(f"CLASSIFICATION.SHARDS: {', '.join(urls[:3])}: hold no images; replace or leave out")


class ValShards(IterableDataset):
    """Every image of the shards once, each in one worker of one process. A bad image raises BadImage.

    Args:
        shards: the shards of the val split.
        example: makes an example: (image, label) -> dict.
    """

    def __init__(self, shards: Shards, example):
        self.shards = shards
        self.example = example

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        first, step = comm.get_rank() * workers + worker, comm.get_world_size() * workers
        for sample in self.shards.read(self.shards.urls[first::step]):
            yield self.example(*self.shards.decode(sample))
