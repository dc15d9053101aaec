"""The digest of labelled images: what the content of a split is known by, wherever the data lie."""

from __future__ import annotations

from pathlib import Path

from classification.data.images import ArrayImages, FileImages, LabelledImages
from classification.data.shards import Shards
from residet.fingerprint import digest


def digest_of_images(images: LabelledImages | Shards) -> str:
    """SHA-256 over a split: the classes and, for each image, its label and what tells the image from others.

    Of images in memory, these are the pixels; of files, their names without the folders above CLASS; of shards, their
    names and the number of images. Files are not read, since listing ImageNet alone takes minutes.
    """
    if isinstance(images, Shards):
        return digest([list(images.classes), [url.rsplit("/", 1)[-1] for url in images.urls], len(images)])
    described: list = [list(images.classes), images.labels()]
    if isinstance(images, FileImages):
        return digest([*described, ["/".join(Path(path).parts[-2:]) for path in images.paths()]])
    if isinstance(images, ArrayImages):
        return digest(described, images.pixels())
    return digest([*described, len(images)])
