"""The digest of registered data: what the content of a data set is known by, wherever the data lie."""

from __future__ import annotations

import os
from collections.abc import Sequence

from residet.fingerprint import digest

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

# Of an object, what decides whether a detection counts, beside class and box.
_OPTIONAL = ("iscrowd", "difficult", "area")


def digest_of_data(names: Sequence[str]) -> str:
    """SHA-256 over images and objects of data sets, in order; "" for no data set.

    Of an image count its file name without folders, the size of its file in bytes, its width and its height. The
    pixels are not read: hashing COCO's 20 GB at every start would take minutes. An image that was changed to others of
    the same number of bytes is therefore not noticed.

    Args:
        names: registered data.
    """
    return digest(*(part for name in names for part in _content(name))) if names else ""


def _content(name: str) -> tuple[list, bytes]:
    """Classes and images, and the objects of all images as bytes, which are made faster than text."""
    images, objects = [], []
    for record in DatasetCatalog.get(name):
        file, annotations = record["file_name"], record.get("annotations", ())
        size = record["width"], record["height"]
        images.append([os.path.basename(file), os.stat(file).st_size, *size, len(annotations)])
        objects += [(a["category_id"], *a["bbox"], *map(a.get, _OPTIONAL)) for a in annotations]
    return [MetadataCatalog.get(name).thing_classes, images], np.array(objects, float).tobytes()
