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

from dataclasses import dataclass

from detection.evaluation import overlaps as matching
from detection.evaluation.coco_numbers import RECALLS
from detection.evaluation.overlaps import Overlaps

import numpy as np
from numpy import ndarray

KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg")
FOREGROUND, _BACKGROUND = 0.5, 0.1
_DETECTIONS = 100  # detections of an image that count, the best of all classes together


@dataclass(frozen=True)
class MatchedDetections:
    """The detections of a data set that count, image after image, the best score first, and the objects.

    Attributes:
        scores: score of each detection, from 0 to 1 (N,).
        classes: index of each detection's class (N,).
        hit: for each detection: 1 true positive, 0 false positive, -1 ignored, since the detection lies on a crowd or a
            `difficult` object (N,).
        kind: for each detection, the kind of its error as an index into `KINDS`; -1 without an error (N,).
        target: for each detection with a Loc or Cls error, the index of the object that the detection would find if
            the error were mended; -1 for other detections (N,).
        object_classes: index of each object's class (M,). Ignored objects are not in the array.
        taken: for each object, whether a true positive has the object (M,).
    """

    scores: ndarray
    classes: ndarray
    hit: ndarray
    kind: ndarray
    target: ndarray
    object_classes: ndarray
    taken: ndarray


def match(overlaps: Overlaps) -> MatchedDetections:
    """Matches detections with objects at an IoU of 0.5, and finds the kind of each error.

    Args:
        overlaps: detections and objects.
    """
    found, objects = overlaps.detections, overlaps.objects
    order, places = overlaps.ranks(found.of_images(range(len(found.images))))
    order = order[places[order] < _DETECTIONS]
    same, ignored = overlaps.same_class(), objects.ignored[overlaps.object]
    counted = ~ignored & (places[overlaps.detection] < _DETECTIONS)
    owned = owners(overlaps, np.flatnonzero(counted & same & (overlaps.iou >= FOREGROUND)), places)
    hit = (owned >= 0).astype(int)
    on_crowd = np.zeros(len(owned), bool)
    on_crowd[overlaps.detection[ignored & same & (overlaps.covered > FOREGROUND)]] = True
    hit[(hit == 0) & on_crowd] = -1
    taken = np.zeros(len(objects.classes), bool)
    taken[owned[owned >= 0]] = True
    kind, target = _errors(overlaps, counted, same, taken)
    number = np.append(np.cumsum(~objects.ignored) - 1, -1)  # of the objects that count; the last is for no target
    wrong = hit == 0
    kind, target = np.where(wrong, kind, -1), np.where(wrong, number[target], -1)
    columns = (found.scores, found.classes, hit, kind, target)
    kept = ~objects.ignored
    return MatchedDetections(*(column[order] for column in columns), objects.classes[kept], taken[kept])


def owners(overlaps: Overlaps, pairs: ndarray, turn: ndarray) -> ndarray:
    """The object that each detection has, or -1 (N,): of the free objects, the one with the largest IoU.

    Args:
        overlaps: detections and objects.
        pairs: numbers of the pairs that may become matches (Q,).
        turn: when each detection takes its turn (N,).
    """
    objects = len(overlaps.objects.classes)
    nothing = np.zeros(objects, bool)
    return matching.match(overlaps, pairs, overlaps.iou[pairs], turn, np.zeros(1), nothing[None], nothing)[:, 0, 0]


def _errors(overlaps: Overlaps, counted: ndarray, same: ndarray, taken: ndarray) -> tuple[ndarray, ndarray]:
    """The kind of error of each detection, if the detection is a false positive.

    Args:
        overlaps: detections and objects.
        counted: whether detection and object of a pair count (P,).
        same: whether detection and object of a pair have the same class (P,).
        taken: whether a true positive has the object (M,).

    Returns:
        index into `KINDS` (N,), and the object that the detection would find if a Loc or Cls error were mended, or -1
        (N,).
    """
    own, own_object = overlaps.largest(counted & same)
    other, other_object = overlaps.largest(counted & ~same)
    of_taken, _ = overlaps.largest(counted & same & taken[overlaps.object])
    conditions = [
        (own >= _BACKGROUND) & (own <= FOREGROUND),
        other >= FOREGROUND,
        of_taken >= FOREGROUND,
        np.maximum(own, other) <= _BACKGROUND,
    ]
    kind = np.select(conditions, [KINDS.index(name) for name in ("Loc", "Cls", "Dupe", "Bkg")], KINDS.index("Both"))
    return kind, np.select(conditions[:2], [own_object, other_object], -1)


def errors(matched: MatchedDetections) -> dict[str, float]:
    """Computes AP50, and the AP50 that each kind of error costs: the gain if all errors of that kind were mended.

    To mend a false positive is to remove the detection. The exception is the best Loc or Cls error of an object that no
    true positive has: the detection becomes a true positive. To mend a Miss is not to count the object. "FalsePos"
    stands for all false positives together, "FalseNeg" for all objects that no true positive has. Classes without
    objects have no part in AP50.

    Args:
        matched: the result of `match`.

    Returns:
        {"AP50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}, in %.
    """
    best_first = np.argsort(-matched.scores, kind="stable")
    columns = (matched.scores, matched.classes, matched.hit, matched.kind, matched.target)
    scores, classes, hit, kind, target = (column[best_first] for column in columns)
    object_classes, taken = matched.object_classes, matched.taken
    counts = {int(c): int(n) for c, n in zip(*np.unique(object_classes, return_counts=True), strict=True)}
    if not len(scores):
        return {"AP50": 0.0} | dict.fromkeys((*KINDS, "FalsePos"), 0.0) | {"Miss": 100.0, "FalseNeg": 100.0}
    base = ap50(classes, hit, counts)
    result = {"AP50": base}
    best = _best_for_object(target, taken)
    for i, name in enumerate(KINDS):
        has_kind = kind == i
        mended = has_kind & best
        now_hit = np.where(mended, 1, hit)
        now_class = classes.copy()
        if mended.any():
            now_class[mended] = object_classes[target[mended]]
        keep = ~has_kind | mended
        result[name] = max(ap50(now_class[keep], now_hit[keep], counts) - base, 0.0)
    reached = np.zeros(len(taken), bool)
    reached[target[target >= 0]] = True
    result["Miss"] = max(ap50(classes, hit, _without(counts, object_classes[~taken & ~reached])) - base, 0.0)
    true_first = np.argsort(hit != 1, kind="stable")
    result["FalsePos"] = ap50(classes[true_first], hit[true_first], counts) - base
    result["FalseNeg"] = ap50(classes, hit, _without(counts, object_classes[~taken])) - base
    return result


def _best_for_object(target: ndarray, taken: ndarray) -> ndarray:
    """Marks the Loc and Cls errors that mending turns into true positives.

    For each object that no true positive has, the error with the best score is marked, of all errors with that target.

    Args:
        target: `MatchedDetections.target`, the best score first (N,).
        taken: `MatchedDetections.taken` (M,).

    Returns:
        (N,) bool.
    """
    best = np.full(len(taken), -1)
    errors = np.flatnonzero(target >= 0)[::-1]
    best[target[errors]] = errors  # of several values for an index, numpy keeps the last
    mask = np.zeros(len(target), bool)
    mask[best[(best >= 0) & ~taken]] = True
    return mask


def _without(counts: dict[int, int], missed: ndarray) -> dict[int, int]:
    """Number of objects of each class, less the missed objects, whose classes are `missed`."""
    return {c: n - int((missed == c).sum()) for c, n in counts.items()}


def ap50(classes: ndarray, hit: ndarray, counts: dict[int, int]) -> float:
    """AP50 as COCO computes it, in %: the mean of the precision at 101 recalls, averaged over the classes in `counts`.

    Args:
        classes: classes of the detections, the best score first (N,).
        hit: `MatchedDetections.hit` of the detections (N,).
        counts: class -> number of its objects that count. A class of 0 objects, all of which were taken out as missed,
            gets 100 without detections that count, else 0.
    """
    order = np.argsort(classes, kind="stable")
    order = order[hit[order] >= 0]
    classes, hits = classes[order], hit[order] == 1
    aps = []
    for c, objects in counts.items():
        true = np.cumsum(hits[np.searchsorted(classes, c) : np.searchsorted(classes, c, side="right")])
        if not objects:
            aps.append(0.0 if len(true) else 100.0)
            continue
        if not len(true):
            aps.append(0.0)
            continue
        precision = true / np.arange(1, len(true) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(true / objects, RECALLS, side="left")
        aps.append(100 * float(np.append(envelope, 0.0)[at].mean()))
    return float(np.mean(aps)) if aps else float("nan")
