"""Finds the images in which a detector is most wrong, by kind of error, and draws truth and detections on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from detection.data.pixels import read_image
from detection.evaluation import tide
from detection.evaluation.overlaps import DatasetDetections, DatasetObjects, Overlaps

import numpy as np
from PIL import Image

KINDS = {
    "Cls": "wrong class",
    "Loc": "poor overlap",
    "Both": "wrong class and poor overlap",
    "Dupe": "second detection of an object",
    "Bkg": "no object there",
    "Miss": "object not found",
}
_EACH = 6  # images of each kind of error
_SCORE = 0.3  # least score of an error that is listed
_CORRECT_SCORE = 0.5  # least score of a correct detection that is drawn
_MISSED = 0.5  # weight of a missed object beside errors, whose weight is their score
_LISTED = 25  # most errors of one image that are listed
_WIDTH = 420  # of a picture in pixels


@dataclass(frozen=True)
class Error:
    """An error of a detector in an image.

    Attributes:
        kind: a key of `KINDS`.
        category: class of the detection, or of the object that was missed.
        score: of the detection; None for a missed object.
        box: x0, y0, x1, y1 in pixels of the image.
        expected: class of the object that the detection lies on, where the class is wrong; else "".
    """

    kind: str
    category: str
    score: float | None
    box: tuple[float, float, float, float]
    expected: str = ""

    @property
    def weight(self) -> float:
        """How bad the error is."""
        return _MISSED if self.score is None else self.score


@dataclass(frozen=True)
class Picture:
    """An image with its errors, the worst first.

    Attributes:
        record: the image's dataset dict.
        errors: the errors.
        truth: class and box of each object.
        correct: class, score and box of each correct detection.
    """

    record: dict
    errors: tuple[Error, ...]
    truth: tuple[tuple[str, tuple], ...]
    correct: tuple[tuple[str, float, tuple], ...]

    @property
    def name(self) -> str:
        """The file name of the image."""
        return Path(self.record["file_name"]).name

    def weight(self, kind: str) -> float:
        """The weight of the errors of one kind."""
        return sum(e.weight for e in self.errors if e.kind == kind)

    def jpeg(self) -> str:
        """The image, at most 420 pixels wide, as a data: URL; "" if the image cannot be read."""
        try:
            image = Image.fromarray(read_image(self.record, "RGB"))
        except InputError:
            return ""
        image.thumbnail((_WIDTH, 2 * _WIDTH))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=70)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def worst_pictures(records: Sequence[dict], detections: Sequence[dict], classes: Sequence[str]) -> list[Picture]:
    """The images with the worst errors: for each kind of error, the images whose errors of the kind weigh most.

    Args:
        records: dataset dicts; category_id is an index into `classes`.
        detections: {"image": index of the record, "class": index, "bbox": x, y, w, h, "score"}.
        classes: names of the classes.
    """
    by_image: dict[int, list[dict]] = {}
    for d in detections:
        by_image.setdefault(d["image"], []).append(d)
    pictures = [_picture(record, by_image.get(i, []), classes) for i, record in enumerate(records)]
    chosen: dict[int, Picture] = {}
    for kind in KINDS:
        order = sorted(range(len(pictures)), key=lambda i, kind=kind: -pictures[i].weight(kind))[:_EACH]
        chosen |= {i: pictures[i] for i in order if pictures[i].weight(kind)}
    return sorted(chosen.values(), key=lambda p: -sum(e.weight for e in p.errors))


def _picture(record: dict, detections: list[dict], classes: Sequence[str]) -> Picture:
    boxes = np.array([d["bbox"] for d in detections], float).reshape(-1, 4)
    scores, kinds = np.array([d["score"] for d in detections], float), np.array([d["class"] for d in detections], int)
    objects = DatasetObjects.join([record.get("annotations", ())])
    found = DatasetDetections.join([0], [(boxes, scores, kinds)])
    matched = tide.match(Overlaps.of(found, objects))
    order = np.argsort(-scores, kind="stable")[: len(matched.scores)]  # as `match` sorts them
    names, counted = objects.classes[~objects.ignored], objects.boxes[~objects.ignored]
    errors, correct = [], []
    for d, hit, kind, target in zip(order, matched.hit, matched.kind, matched.target, strict=True):
        box, score, category = _corners(boxes[d]), float(scores[d]), classes[kinds[d]]
        if hit == 1 and score >= _CORRECT_SCORE:
            correct.append((category, score, box))
        elif hit == 0 and score >= _SCORE:
            name = tide.KINDS[kind]
            errors.append(
                Error(name, category, score, box, classes[names[target]] if name == "Cls" and target >= 0 else "")
            )
    found_or_taken = matched.taken.copy()
    found_or_taken[matched.target[matched.target >= 0]] = True
    for i in np.flatnonzero(~found_or_taken):
        errors.append(Error("Miss", classes[names[i]], None, _corners(counted[i])))
    errors.sort(key=lambda e: -e.weight)
    shown = tuple((classes[k], _corners(box)) for k, box in zip(objects.classes, objects.boxes, strict=True))
    return Picture(record, tuple(errors[:_LISTED]), shown, tuple(correct))


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a box x, y, width, height."""
    x, y, width, height = box.tolist()
    return x, y, x + width, y + height
