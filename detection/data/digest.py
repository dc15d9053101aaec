"""The digest of registered data: what the content of a data set is known by, wherever the data lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from residet.fingerprint import digest

from detectron2.data import DatasetCatalog, MetadataCatalog

# Of an object, what decides whether a detection counts.
_FIELDS = ("category_id", "bbox", "iscrowd", "difficult", "area")


def digest_of_data(names: Sequence[str]) -> str:
    """SHA-256 over images and objects of data sets, in order; "" for no data set.

    Of an image count its file name without folders, the size of its file in bytes, its width and its height. The
    pixels are not read: hashing COCO's 20 GB at every start would take minutes. An image that was changed to others of
    the same number of bytes is therefore not noticed.

    Args:
        names: registered data.
    """
    return digest(*map(_content, names)) if names else ""


def _content(name: str) -> list:
    images = []
    for record in DatasetCatalog.get(name):
        file = Path(record["file_name"])
        objects = [[a.get(field) for field in _FIELDS] for a in record.get("annotations", ())]
        images.append([file.name, file.stat().st_size, record["width"], record["height"], objects])
    return [MetadataCatalog.get(name).thing_classes, images]
