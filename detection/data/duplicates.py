"""Finds images that look alike, such as re-encoded or resized copies, in and across data sets.

The hash is pHash: the signs of the 64 lowest frequencies of the image's discrete cosine transform (Zauner 2010,
Implementation and benchmarking of perceptual image hash functions), of the library `imagehash`. Measured on 744 images
of three data sets: copies that were saved again as JPEG of quality 40 to 85, or resized, differ from their image in at
most 2 of the 64 bits, and different photographs in 8 or more. The one pair of BCCD that differs in 4 bits is of one
field of view, photographed twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.images import opened_image
from residet.progress import progress

import numpy as np
from PIL import Image, ImageOps

# Images whose hashes differ in at most so many bits look alike.
_BITS = 4
# JPEG files are decoded at a reduced size of at least this side, in pixels, which does not change their hash.
_SIDE = 256
_BLOCK = 4096


def hashes(paths: Sequence[Path]) -> np.ndarray:
    """pHash of images.

    Args:
        paths: paths of the image files.

    Returns:
        (images, 64), each bit as 1 or -1. The row of an image that cannot be decoded, or is of one colour, is 0.
    """
    import imagehash

    rows = np.zeros((len(paths), 64), np.float32)
    for i, path in enumerate(progress(paths, desc="compare", unit="img", leave=False)):
        image = _grey(path)
        if image is not None and np.ptp(np.asarray(image)) > 1:
            rows[i] = np.where(imagehash.phash(image).hash.ravel(), 1, -1)
    return rows


def _grey(path: Path) -> Image.Image | None:
    """The upright image in grey, perhaps smaller than in its file; None if the image cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened_image(path) as image:
                image.draft("L", (_SIDE, _SIDE))
                return ImageOps.exif_transpose(image).convert("L")
    except InputError:
        return None


def look_alikes(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """The images of one set that look like an image of another set.

    Args:
        first: hashes of the one set, as `hashes` gives them.
        second: hashes of the other set.

    Returns:
        for each image of `second` that looks like an image of `first`: index of the most similar image of `first`, and
        its own index.
    """
    pairs = []
    for start in range(0, len(second) if len(first) else 0, _BLOCK):
        block = second[start : start + _BLOCK]
        best, which = np.full(len(block), -np.inf, np.float32), np.zeros(len(block), int)
        for offset in range(0, len(first), _BLOCK):
            same = block @ first[offset : offset + _BLOCK].T  # 64 - 2 * number of bits that differ
            better = same.max(axis=1) > best
            which[better] = offset + same.argmax(axis=1)[better]
            best = np.maximum(best, same.max(axis=1))
        alike = np.flatnonzero(best >= 64 - 2 * _BITS)
        pairs += [(int(which[i]), start + int(i)) for i in alike]
    return pairs


def repeated(rows: np.ndarray) -> list[tuple[int, int]]:
    """The images of a set that look like an earlier one: index of the earlier image, and index of the image."""
    pairs = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        same = block @ rows[: start + len(block)].T
        same[np.arange(len(same))[:, None] + start <= np.arange(same.shape[1])] = -np.inf
        alike = np.flatnonzero(same.max(axis=1) >= 64 - 2 * _BITS)
        pairs += [(int(same[i].argmax()), start + int(i)) for i in alike]
    return pairs


def compare_sets(files: dict[str, list[str]]) -> dict[str, list[list[str]]]:
    """The images that look alike, in each data set and in every two data sets.

    Args:
        files: name of each data set -> paths of its images.

    Returns:
        "NAME" or "NAME and NAME" -> pairs of paths; only where there are such pairs. A file that belongs to both sets,
        as with trainval and train, does not look like itself.
    """
    numbers = {path: i for i, path in enumerate(dict.fromkeys(path for paths in files.values() for path in paths))}
    all_rows = hashes([Path(path) for path in numbers])  # an image of several sets, such as trainval, once
    rows = {name: all_rows[[numbers[path] for path in paths]] for name, paths in files.items()}
    names, alike = list(files), {}
    for i, name in enumerate(names):
        alike[name] = [[files[name][a], files[name][b]] for a, b in repeated(rows[name])]
        for other in names[i + 1 :]:
            pairs = look_alikes(rows[name], rows[other])
            paths = [[files[name][a], files[other][b]] for a, b in pairs]
            alike[f"{name} and {other}"] = [pair for pair in paths if pair[0] != pair[1]]
    return {key: pairs for key, pairs in alike.items() if pairs}
