"""Chooses between several readings of one folder, such as XML files and a table that was made from the XML files.

Readings that give the same boxes are no question for the user. The reading with more labelled images is taken, or else
the reading that has a split for the training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.files import IMAGE_SUFFIXES, all_files
from detection.data.layouts.reader import IncompleteDataError, Reader, ReaderOptions

# Boxes are the same if none of their sides differs by more pixels: some tools count pixels from 0, others from 1.
_TOLERANCE = 1.5

# Path of an image -> class and x0, y0, x1, y1 of each of its boxes, sorted.
_Boxes = dict[str, list[tuple]]


@dataclass(frozen=True)
class Reading:
    """How a folder is read.

    Attributes:
        reader: name of the reader; "" for a folder that no reader reads.
        splits: name of a split -> name of its data, as the reader gives them.
        agrees: names of other readers that would give the same boxes.
    """

    reader: str = ""
    splits: dict[str, str] = field(default_factory=dict)
    agrees: tuple[str, ...] = ()


# The last folder with several readings -> what decided, and the decision: reading a folder twice costs time.
_decisions: dict[str, tuple[object, Reading]] = {}


def choose(folder: Path, readings: Mapping[Reader, dict[str, str] | InputError]) -> Reading:
    """The reading to take of a folder that can be read in several ways.

    Args:
        folder: the folder.
        readings: reader -> the splits that the reader finds, or why the reader fails; the preferred reader first.

    Raises:
        InputError: a reading fails, or the readings give different boxes; the message names the readings and the option
            that chooses.
    """
    files = [path for path in all_files(folder) if path.suffix.lower() not in IMAGE_SUFFIXES]
    state = [(str(path), path.stat().st_mtime_ns) for path in files], [str(r) for r in readings.values()]
    if str(folder) not in _decisions or _decisions[str(folder)][0] != state:
        decision = _decide(folder, readings)
        _decisions.clear()
        _decisions[str(folder)] = state, decision
    return _decisions[str(folder)][1]


def _decide(folder: Path, readings: Mapping[Reader, dict[str, str] | InputError]) -> Reading:
    ways = " or ".join(f"--format {reader.name} ({_first(splits)})" for reader, splits in readings.items())
    question = f"{folder}: can be read in {len(readings)} ways; choose with {ways}"
    boxes: dict[Reader, _Boxes] = {}
    for reader, splits in readings.items():
        if isinstance(splits, InputError):
            raise InputError(question)
        try:
            boxes[reader] = _read(reader, splits)
        except InputError as e:
            raise InputError(f"{question}. {reader.name} fails: {e}") from e
    best = max(boxes, key=lambda reader: (len(boxes[reader]), "train" in readings[reader]))  # the first of equal ones
    for reader in boxes:
        if difference := _difference(best.name, boxes[best], reader.name, boxes[reader], folder):
            raise InputError(f"{question}. {difference}")
    agrees = tuple(reader.name for reader, found in boxes.items() if found and reader is not best)
    return Reading(best.name, readings[best], agrees)


def _first(reading: dict[str, str] | InputError) -> str:
    """What a reading takes, in short: the names of its splits, or why the reading fails."""
    return str(reading) if isinstance(reading, InputError) else ", ".join(reading)


def _read(reader: Reader, splits: dict[str, str]) -> _Boxes:
    """The boxes of all labelled images that a reading finds; absent images are left out.

    Raises:
        InputError: the data are broken.
    """
    found: _Boxes = {}
    for name in splits.values():
        path, _, part = name.partition(":")
        try:
            source = reader.read(Path(path), part, Defects(), ReaderOptions(skip_missing=True))
        except IncompleteDataError:
            continue  # without images or names of classes: other splits and readings decide
        for record in source.records:
            objects = record.get("annotations", ())
            if objects:
                boxes = sorted((a["category"].casefold(), *a["bbox"]) for a in objects)
                found[os.path.realpath(record["file_name"])] = boxes
    return found


def _difference(name: str, boxes: _Boxes, other: str, others: _Boxes, folder: Path) -> str:
    """In what a reading has other boxes than the best one, for a message; "" if the best one has all of them."""
    for path, objects in others.items():
        image = os.path.relpath(path, os.path.realpath(folder))
        if path not in boxes:
            return f"They differ: only {other} has boxes of {image}"
        if not _same(boxes[path], objects):
            return f"They differ: {image} has {len(boxes[path])} boxes by {name}, {len(objects)} other ones by {other}"
    return ""


def _same(first: list[tuple], second: list[tuple]) -> bool:
    """Whether two lists have the same classes and boxes, whatever the order of nearly equal boxes."""
    left = list(second)
    for category, *box in first:
        fits = (
            i
            for i, (other, *corners) in enumerate(left)
            if other == category and all(abs(a - b) <= _TOLERANCE for a, b in zip(box, corners, strict=True))
        )
        index = next(fits, None)
        if index is None:
            return False
        del left[index]
    return not left
