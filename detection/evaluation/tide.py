"""Sorts the errors of a detector into TIDE's six kinds, and measures the AP50 that each kind costs.

Source: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors". AP50 is AP at an IoU of 0.5.

The kind of a false positive is the first row that is true of the detection. Overlap is IoU with an object of the image:

    Loc    the largest overlap with an object of the same class is 0.1 to 0.5
    Cls    the overlap with an object of another class is 0.5 or more
    Dupe   the overlap with an object of the same class is 0.5 or more, but a true positive has that object already
    Bkg    no overlap is more than 0.1
    Both   otherwise: class and overlap are both wrong

The sixth kind, Miss, is an object that no true positive has, and that no Loc or Cls error would find if the error were
mended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from detection.evaluation.boxes import iou

import numpy as np
from numpy import ndarray

KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg")
_FOREGROUND, _BACKGROUND = 0.5, 0.1
_DETECTIONS = 100  # detections of an image that count, the best of all classes together


@dataclass
class MatchedDetections:
    """Detections and objects of a whole data set, each kind of value in one list over all images.

    Attributes:
        scores: score of each detection, from 0 to 1.
        classes: index of each detection's class.
        hit: for each detection: 1 true positive, 0 false positive, -1 ignored (on a crowd or a `difficult` object).
        kind: for each detection, the kind of its error as an index into `KINDS`; -1 without an error.
        target: for each detection with a Loc or Cls error, the index of the object that the detection would find if
            the error were mended; -1 for other detections.
        object_classes: index of each object's class. Ignored objects are not in the list.
        taken: for each object, whether a true positive has the object.
    """

    scores: list[float] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    hit: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    object_classes: list[int] = field(default_factory=list)
    taken: list[bool] = field(default_factory=list)


def match(images: Iterable[tuple[ndarray, ...]]) -> MatchedDetections:
    """Matches detections with objects at an IoU of 0.5, and finds the kind of each error.

    Args:
        images: for each image six arrays. Of the detections: boxes (N, 4) x0, y0, x1, y1 in pixels, scores (N,) and
            classes (N,). Of the objects: boxes (M, 4), classes (M,), and whether to ignore the object (M,).
    """
    matched = MatchedDetections()
    for boxes, scores, classes, objects, object_classes, ignored in images:
        order = np.argsort(-scores, kind="stable")[:_DETECTIONS]
        crowd = objects[ignored], object_classes[ignored]
        _match_image(
            matched, boxes[order], scores[order], classes[order], objects[~ignored], object_classes[~ignored], crowd
        )
    return matched


def _match_image(matched: MatchedDetections, boxes, scores, classes, objects, object_classes, crowd) -> None:
    """Appends the detections and objects of one image.

    Args:
        matched: gets the detections and objects.
        boxes: boxes of the detections (N, 4), best score first.
        scores: scores of the detections (N,).
        classes: classes of the detections (N,).
        objects: boxes of the objects that count (M, 4).
        object_classes: classes of these objects (M,).
        crowd: boxes (K, 4) and classes (K,) of the objects to ignore.
    """
    first = len(matched.taken)
    same = classes[:, None] == object_classes
    overlap = iou(boxes, objects)
    owned = hits(np.where(same, overlap, 0.0))
    hit = (owned >= 0).astype(int)
    taken = np.zeros(len(objects), bool)
    taken[owned[owned >= 0]] = True
    on_crowd = (iou(boxes, crowd[0], of_first=True) * (classes[:, None] == crowd[1])).max(axis=1, initial=0)
    hit[(hit == 0) & (on_crowd > _FOREGROUND)] = -1
    kind, target = _errors(overlap, same, taken)
    wrong = hit == 0
    matched.hit += hit.tolist()
    matched.kind += np.where(wrong, kind, -1).tolist()
    matched.target += np.where(wrong & (target >= 0), first + target, -1).tolist()
    matched.scores += scores.tolist()
    matched.classes += classes.tolist()
    matched.object_classes += object_classes.tolist()
    matched.taken += taken.tolist()


def hits(overlap: ndarray) -> ndarray:
    """The object that each detection has, or -1 (N,): of the free objects, the one with the largest IoU of 0.5 or more.

    Args:
        overlap: IoU of each detection with each object, best score first; 0 for objects that the detection must not
            have (N, M).
    """
    owned = np.full(len(overlap), -1)
    free = np.ones(overlap.shape[1], bool)
    for d in np.flatnonzero((overlap >= _FOREGROUND).any(axis=1)):
        best = int(np.where(free, overlap[d], -1.0).argmax())
        if free[best] and overlap[d, best] >= _FOREGROUND:
            owned[d], free[best] = best, False
    return owned


def _errors(overlap: ndarray, same: ndarray, taken: ndarray) -> tuple[ndarray, ndarray]:
    """The kind of error of each detection, if the detection is a false positive.

    Args:
        overlap: IoU with each object of the image (N, M).
        same: whether the object has the class of the detection (N, M).
        taken: whether a true positive has the object (M,).

    Returns:
        index into `KINDS` (N,), and the object that the detection would find if a Loc or Cls error were mended, or -1
        (N,).
    """
    if not overlap.shape[1]:
        return np.full(len(overlap), KINDS.index("Bkg")), np.full(len(overlap), -1)
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    of_own, largest = own.max(axis=1), overlap.max(axis=1)
    conditions = [
        (of_own >= _BACKGROUND) & (of_own <= _FOREGROUND),
        other.max(axis=1) >= _FOREGROUND,
        np.where(taken, own, 0.0).max(axis=1) >= _FOREGROUND,
        largest <= _BACKGROUND,
    ]
    kind = np.select(conditions, [KINDS.index(name) for name in ("Loc", "Cls", "Dupe", "Bkg")], KINDS.index("Both"))
    target = np.select(conditions[:2], [own.argmax(axis=1), other.argmax(axis=1)], -1)
    return kind, target


def errors(matched: MatchedDetections) -> dict[str, float]:
    """Computes AP50, and the AP50 that each kind of error costs: the gain if all errors of that kind were mended.

    To mend a false positive is to remove the detection. The exception is the best Loc or Cls error of an object that no
    true positive has: the detection becomes a true positive. To mend a Miss is not to count the object. "FalsePos"
    stands for all false positives together, "FalseNeg" for all objects that no true positive has. Classes without
    objects have no part in AP50.

    Args:
        found: the result of `match`.

    Returns:
        {"AP50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}, in %.
    """
    scores, classes, hit, kind, target = (
        np.array(x) for x in (matched.scores, matched.classes, matched.hit, matched.kind, matched.target)
    )
    object_classes, taken = np.array(matched.object_classes, int), np.array(matched.taken, bool)
    counts = {int(c): int(n) for c, n in zip(*np.unique(object_classes, return_counts=True), strict=True)}
    if not len(scores):
        return {"AP50": 0.0} | dict.fromkeys((*KINDS, "FalsePos"), 0.0) | {"Miss": 100.0, "FalseNeg": 100.0}
    base = ap50(scores, classes, hit, counts)
    result = {"AP50": base}
    best = _best_for_object(scores, target, taken)
    for i, name in enumerate(KINDS):
        has_kind = kind == i
        mended = has_kind & best
        now_hit = np.where(mended, 1, hit)
        now_class = classes.copy()
        if mended.any():
            now_class[mended] = object_classes[target[mended]]
        keep = ~has_kind | mended
        result[name] = max(ap50(scores[keep], now_class[keep], now_hit[keep], counts) - base, 0.0)
    reached = np.zeros(len(taken), bool)
    reached[target[target >= 0]] = True
    result["Miss"] = max(ap50(scores, classes, hit, _without(counts, object_classes[~taken & ~reached])) - base, 0.0)
    result["FalsePos"] = ap50(np.where(hit == 1, 1.0, 0.0), classes, hit, counts) - base
    result["FalseNeg"] = ap50(scores, classes, hit, _without(counts, object_classes[~taken])) - base
    return result


def _best_for_object(scores: ndarray, target: ndarray, taken: ndarray) -> ndarray:
    """Marks the Loc and Cls errors that mending turns into true positives.

    For each object that no true positive has, the error with the best score is marked, of all errors with that target.

    Args:
        scores: scores of all detections (N,).
        target: `MatchedDetections.target` (N,).
        taken: `MatchedDetections.taken` (M,).

    Returns:
        (N,) bool.
    """
    best: dict[int, int] = {}
    for d in np.argsort(-scores, kind="stable"):
        if target[d] >= 0 and not taken[target[d]]:
            best.setdefault(int(target[d]), int(d))
    mask = np.zeros(len(scores), bool)
    mask[list(best.values())] = True
    return mask


def _without(counts: dict[int, int], missed: ndarray) -> dict[int, int]:
    """Number of objects of each class, less the missed objects, whose classes are `missed`."""
    return {c: n - int((missed == c).sum()) for c, n in counts.items()}


def ap50(scores: ndarray, classes: ndarray, hit: ndarray, counts: dict[int, int]) -> float:
    """AP50 as COCO computes it, in %: the mean of the precision at 101 recalls, averaged over the classes in `counts`.

    Args:
        scores: scores of the detections (N,).
        classes: classes of the detections (N,).
        hit: `MatchedDetections.hit` of the detections (N,).
        counts: class -> number of its objects that count. A class of 0 objects, all of which were taken out as missed,
            gets 100 without detections that count, else 0.
    """
    aps = []
    for c, objects in counts.items():
        counted = (classes == c) & (hit >= 0)
        order = np.argsort(-scores[counted], kind="stable")
        true = np.cumsum(hit[counted][order] == 1)
        if not objects:
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
