"""What keeps a detector from perfect AP: TIDE's six kinds of error (Bolya et al., "TIDE: A General Toolbox for
Identifying Object Detection Errors"), and the AP at .5 that mending each alone would give back.

A false positive is the first of these that applies, of its overlaps with all objects of the image:

    Loc    of its class one overlaps it by 0.1 to 0.5
    Cls    of another class one overlaps it by 0.5 or more
    Dupe   of its class one overlaps it by 0.5 or more, which a better detection has
    Bkg    none overlaps it by more than 0.1
    Both   the rest: wrong class and poor overlap

and an object is missed (Miss) if no detection has it, nor a Loc or Cls error that would have found it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg")
_FOREGROUND, _BACKGROUND = 0.5, 0.1
_DETECTIONS = 100  # of an image, the best of all classes


@dataclass
class MatchedDetections:
    """Detections and objects of a whole data set, flat.

    Attributes:
        scores: of each detection.
        classes: of each detection.
        hit: 1 a true positive, 0 a false one, -1 neither (on a crowd or a `difficult` object).
        kind: the error of a false positive, index into `KINDS`; -1 for others.
        target: the object that a Loc or Cls error would have found; -1 for others.
        object_classes: of each object.
        taken: objects that a true positive has.
    """

    scores: list[float] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    hit: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    object_classes: list[int] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)


def match(images: Iterable[tuple[ndarray, ...]]) -> MatchedDetections:
    """Matches detections with objects and sorts the errors.

    Args:
        images: of each, detections' boxes (N, 4) x0, y0, x1, y1, scores (N,), classes (N,); objects' boxes (M, 4),
            classes (M,), and whether they are to be ignored (M,).
    """
    found = MatchedDetections()
    for boxes, scores, classes, objects, object_classes, ignored in images:
        order = np.argsort(-scores, kind="stable")[:_DETECTIONS]
        crowd = objects[ignored], object_classes[ignored]
        _match_image(
            found, boxes[order], scores[order], classes[order], objects[~ignored], object_classes[~ignored], crowd
        )
    return found


def _match_image(found: MatchedDetections, boxes, scores, classes, objects, object_classes, crowd) -> None:
    first = len(found.taken)
    same = classes[:, None] == object_classes
    overlap = iou(boxes, objects)
    owner = np.full(len(objects), -1)
    hits = np.full(len(boxes), -1)
    for d in range(len(boxes)):
        free = np.where(same[d] & (owner < 0), overlap[d], -1.0)
        if len(free) and free.max() >= _FOREGROUND:
            owner[free.argmax()], hits[d] = d, free.argmax()
    on_crowd = (iou(boxes, crowd[0], of_first=True) * (classes[:, None] == crowd[1])).max(axis=1, initial=0)
    for d in range(len(boxes)):
        hit, kind, target = int(hits[d] >= 0), -1, -1
        if not hit and on_crowd[d] > _FOREGROUND:
            hit = -1
        elif not hit:
            kind, target = _error(overlap[d], same[d], owner >= 0)
        found.hit.append(hit)
        found.kind.append(kind)
        found.target.append(first + target if target >= 0 else -1)
    found.scores += scores.tolist()
    found.classes += classes.tolist()
    found.object_classes += object_classes.tolist()
    found.taken += (owner >= 0).tolist()


def _error(overlap: ndarray, same: ndarray, taken: ndarray) -> tuple[int, int]:
    """Index of the kind, and the image's object that it would have found, or -1."""
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    if own.max(initial=0) >= _BACKGROUND and own.max() <= _FOREGROUND:
        return KINDS.index("Loc"), int(own.argmax())
    if other.max(initial=0) >= _FOREGROUND:
        return KINDS.index("Cls"), int(other.argmax())
    if np.where(taken, own, 0.0).max(initial=0) >= _FOREGROUND:
        return KINDS.index("Dupe"), -1
    return KINDS.index("Bkg" if overlap.max(initial=0) <= _BACKGROUND else "Both"), -1


def errors(found: MatchedDetections) -> dict[str, float]:
    """{"AP50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}: AP at .5, and what mending each
    kind alone would add to it, in %.

    A class that occurs nowhere does not count; detections of it are errors all the same.
    """
    scores, classes, hit, kind, target = (
        np.array(x) for x in (found.scores, found.classes, found.hit, found.kind, found.target)
    )
    object_classes, taken = np.array(found.object_classes, int), np.array(found.taken, bool)
    counts = {int(c): int(n) for c, n in zip(*np.unique(object_classes, return_counts=True), strict=True)}
    if not len(scores):
        return {"AP50": 0.0} | dict.fromkeys((*KINDS, "FalsePos"), 0.0) | {"Miss": 100.0, "FalseNeg": 100.0}
    base = ap50(scores, classes, hit, counts)
    result = {"AP50": base}
    best = _best_for_object(scores, target, taken)
    for i, name in enumerate(KINDS):
        of_kind = kind == i
        mended = of_kind & best
        now_hit = np.where(mended, 1, hit)
        now_class = classes.copy()
        if mended.any():
            now_class[mended] = object_classes[target[mended]]
        keep = ~of_kind | mended
        result[name] = max(ap50(scores[keep], now_class[keep], now_hit[keep], counts) - base, 0.0)
    reached = np.zeros(len(taken), bool)
    reached[target[target >= 0]] = True
    result["Miss"] = max(ap50(scores, classes, hit, _without(counts, object_classes[~taken & ~reached])) - base, 0.0)
    result["FalsePos"] = ap50(np.where(hit == 1, 1.0, 0.0), classes, hit, counts) - base
    result["FalseNeg"] = ap50(scores, classes, hit, _without(counts, object_classes[~taken])) - base
    return result


def _best_for_object(scores: ndarray, target: ndarray, taken: ndarray) -> ndarray:
    """Of the errors that would have found the same object, which no detection has, the best scored."""
    best: dict[int, int] = {}
    for d in np.argsort(-scores, kind="stable"):
        if target[d] >= 0 and not taken[target[d]]:
            best.setdefault(int(target[d]), int(d))
    mask = np.zeros(len(scores), bool)
    mask[list(best.values())] = True
    return mask


def _without(counts: dict[int, int], missed: ndarray) -> dict[int, int]:
    return {c: n - int((missed == c).sum()) for c, n in counts.items()}


def ap50(scores: ndarray, classes: ndarray, hit: ndarray, counts: dict[int, int]) -> float:
    """Mean over the classes with objects of the precision at 101 recalls, in %, as COCO has it.

    Args:
        scores, classes, hit: of the detections, as `MatchedDetections` has them.
        counts: objects of each class.
    """
    aps = []
    for c, objects in counts.items():
        of_class = (classes == c) & (hit >= 0)
        order = np.argsort(-scores[of_class], kind="stable")
        true = np.cumsum(hit[of_class][order] == 1)
        if not objects:  # what was missed is taken away: only errors are left, or nothing
            aps.append(0.0 if len(true) else 100.0)
            continue
        if not len(true):
            aps.append(0.0)
            continue
        precision = true / np.arange(1, len(true) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(true / objects, np.linspace(0, 1, 101), side="left")
        aps.append(100 * float(np.append(envelope, 0.0)[at].mean()))
    return float(np.mean(aps)) if aps else float("nan")


def iou(a: ndarray, b: ndarray, *, of_first: bool = False) -> ndarray:
    """(N, M) overlaps of boxes, over the union, or over the area of the first."""
    corners = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = corners.clip(min=0).prod(axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    whole = area_a[:, None] if of_first else area_a[:, None] + area_b - shared
    return shared / np.maximum(whole, 1e-12)
