"""Finds files that look like annotations in a folder that no reader reads: such a folder holds more than images."""

from __future__ import annotations

import re
from pathlib import Path

from detection.data.layouts.files import IMAGE_SUFFIXES, all_files, head, stem, with_suffix
from detection.data.layouts.yolo.labels import is_label_file

_JSON = re.compile(r'"(bbox|bndbox|boxes|shapes|regions|annotations|categories|segmentation|coordinates|labels?)"\s*:')
_FOUR_NUMBERS = re.compile(r"\[\s*-?\d[\d.eE+-]*\s*(,\s*-?\d[\d.eE+-]*\s*){3,}\]")
_IMAGE = re.compile("|".join(map(re.escape, IMAGE_SUFFIXES)), re.IGNORECASE)
_XML = re.compile(r"<\s*(annotations?|bndbox|object|box|images?)[\s>]", re.IGNORECASE)
_TABLE = re.compile(rf"({'|'.join(map(re.escape, IMAGE_SUFFIXES))})\W.*\d|xmin|x_?min|x1\W|bbox", re.IGNORECASE)
# At most so many files of a kind are opened: those of one kind are alike.
_LOOKED_AT = 50


def unread_annotations(folder: Path) -> Path | None:
    """The first file of a folder that looks like annotations of images; None if there is no such file."""
    files = all_files(folder)
    images = {stem(path.name) for path in with_suffix(files, *IMAGE_SUFFIXES)}
    # A text file of an image's name comes first: notes and lists of other names are opened after these.
    texts = sorted(with_suffix(files, ".txt"), key=lambda path: stem(path.name) not in images)
    looks = (
        (with_suffix(files, ".xml"), lambda path: _XML.search(head(path))),
        (with_suffix(files, ".json"), _is_annotation_json),
        (with_suffix(files, ".csv", ".tsv"), lambda path: _TABLE.search(head(path))),
        (texts, lambda path: _is_annotation_text(path, images)),
    )
    return next((path for paths, like in looks for path in paths[:_LOOKED_AT] if like(path)), None)


def _is_annotation_json(path: Path) -> bool:
    """Whether a JSON file has a key of annotations, or names images and has lists of four numbers or more."""
    start = head(path, 1 << 16)
    return bool(_JSON.search(start) or (_IMAGE.search(start) and _FOUR_NUMBERS.search(start)))


def _is_annotation_text(path: Path, images: set[str]) -> bool:
    """Whether a text file has boxes: in rows of numbers, for the image of its name, or beside the names of images."""
    first = next((line for line in head(path).splitlines() if line.strip()), "")
    if is_label_file(path):
        return True
    numbers = re.findall(r"(?<![\w.])-?\d+\.?\d*", first)
    return len(numbers) >= 4 and (stem(path.name) in images or bool(_TABLE.search(first)))
