"""Detections and objects of a data set as arrays, the overlaps of both, and the matching of one with the other.

Shapes: I images, N detections, M objects, P pairs of a detection and an object, T IoU thresholds, A ways to ignore
objects, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

# A pair with less is of no use to a metric here: the least IoU that one asks for is TIDE's 0.1, and IoU is less still.
_LEAST = 0.1
_AT_ONCE = 2**18  # pairs computed together: bounds the memory


@dataclass(frozen=True)
class DatasetDetections:
    """The detections of a data set, image after image.

    Attributes:
        images: ids of the images (I,).
        starts: number of the first detection of each image, and N at the end (I + 1,).
        boxes: x, y, width, height in pixels (N, 4), float64.
        scores: from 0 to 1 (N,), float64.
        classes: index of each detection's class (N,).
    """

    images: list
    starts: ndarray
    boxes: ndarray
    scores: ndarray
    classes: ndarray

    @classmethod
    def join(cls, images: Sequence, of_images: Sequence[tuple[ndarray, ndarray, ndarray]]) -> DatasetDetections:
        """Joins the boxes (N, 4), scores (N,) and classes (N,) of images; `images` are the ids of the images."""
        boxes, scores, classes = zip(*of_images, strict=True) if of_images else ([], [], [])
        return cls(
            list(images),
            np.cumsum([0, *map(len, scores)]),
            np.concatenate([np.zeros((0, 4)), *boxes]),
            np.concatenate([np.zeros(0), *scores]),
            np.concatenate([np.zeros(0, int), *classes]),
        )

    def of_classes(self, count: int) -> list[ndarray]:
        """The numbers of the detections of each of `count` classes, the best score first, equal scores as they come."""
        order = np.lexsort((-self.scores, self.classes))
        return np.split(order, np.searchsorted(self.classes[order], np.arange(1, count)))

    def of_images(self, values: Sequence) -> ndarray:
        """The value of each detection's image (N,), out of a value for each image (I,)."""
        return np.repeat(np.asarray(values), np.diff(self.starts))


@dataclass(frozen=True)
class DatasetObjects:
    """The objects of a data set, image after image.

    Attributes:
        starts: number of the first object of each image, and M at the end (I + 1,).
        boxes: x, y, width, height in pixels (M, 4), float64.
        areas: COCO's area of each object, in square pixels (M,).
        classes: index of each object's class (M,).
        crowd: whether the object is one of COCO's crowds (M,).
        difficult: whether the object is one of VOC's objects marked `difficult` (M,).
    """

    starts: ndarray
    boxes: ndarray
    areas: ndarray
    classes: ndarray
    crowd: ndarray
    difficult: ndarray

    @classmethod
    def join(cls, of_images: Sequence[Sequence[dict]]) -> DatasetObjects:
        """Joins the annotations of the dataset dicts of all images."""
        annotations = [*itertools.chain.from_iterable(of_images)]
        boxes = np.array([a["bbox"] for a in annotations], float).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
        own_areas = np.prod(boxes[:, 2:], axis=1)
        return cls(
            np.cumsum([0, *map(len, of_images)]),
            boxes,
            np.array([a.get("area", area) for a, area in zip(annotations, own_areas, strict=True)], float),
            np.array([a["category_id"] for a in annotations], int),
            np.array([a["iscrowd"] for a in annotations], bool),
            np.array([a.get("difficult", 0) for a in annotations], bool),
        )

    @property
    def ignored(self) -> ndarray:
        """Whether VOC and TIDE ignore the object, since it is `difficult` or a crowd (M,)."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Overlaps:
    """The pairs of a detection and an object of its image that share a tenth of the detection's area, or more.

    The values are those that pycocotools computes, to the last bit.

    Attributes:
        detections: the detections.
        objects: the objects of the same images.
        detection: number of the detection of each pair, ascending (P,).
        object: number of the object of each pair, ascending for a detection (P,).
        iou: the shared area, divided by the area of the union (P,).
        covered: the shared area, divided by the area of the detection (P,).
    """

    detections: DatasetDetections
    objects: DatasetObjects
    detection: ndarray
    object: ndarray
    iou: ndarray
    covered: ndarray

    @classmethod
    def of(cls, detections: DatasetDetections, objects: DatasetObjects) -> Overlaps:
        """Computes the overlaps in each image."""
        partners = detections.of_images(np.diff(objects.starts))  # objects in the image of each detection
        first = detections.of_images(objects.starts[:-1])
        ends = np.cumsum(partners)
        cuts = np.searchsorted(ends, np.arange(0, ends[-1], _AT_ONCE)) if len(ends) else []
        found, real = _sides(detections.boxes), _sides(objects.boxes)
        columns = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))]
        for start, end in itertools.pairwise([*cuts, len(partners)]):
            counts = partners[start:end]
            d = np.repeat(np.arange(start, end), counts)
            o = np.arange(len(d)) + np.repeat(first[start:end] - (np.cumsum(counts) - counts), counts)
            columns.append(_pairs(d, o, found, real))
        return cls(detections, objects, *map(np.concatenate, zip(*columns, strict=True)))

    def same_class(self) -> ndarray:
        """Whether detection and object of a pair have the same class (P,)."""
        return self.detections.classes[self.detection] == self.objects.classes[self.object]

    def largest(self, pairs: ndarray) -> tuple[ndarray, ndarray]:
        """The object that each detection overlaps most.

        Args:
            pairs: whether to consider the pair (P,).

        Returns:
            the IoU of each detection with this object (N,), 0 without a pair; and the number of the object (N,), the
            first of those with equal IoU, -1 without a pair.
        """
        d, o, iou = self.detection[pairs], self.object[pairs], self.iou[pairs]
        overlap, chosen = np.zeros(len(self.detections.scores)), np.full(len(self.detections.scores), -1)
        if len(d):
            starts = np.flatnonzero(np.diff(d, prepend=-1))
            overlap[d[starts]] = np.maximum.reduceat(iou, starts)
            best = np.flatnonzero(iou == overlap[d])[::-1]  # of several values for an index, numpy keeps the last
            chosen[d[best]] = o[best]
        return overlap, chosen

    def ranks(self, groups: ndarray) -> tuple[ndarray, ndarray]:
        """Orders the detections of each group by score, equal scores as they come.

        Args:
            groups: number of each detection's group (N,).

        Returns:
            the numbers of the detections by group and score, the best first (N,); and the place of each detection in
            its group, from 0 (N,).
        """
        order = np.lexsort((-self.detections.scores, groups))
        first = np.flatnonzero(np.diff(groups[order], prepend=-1))
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
        return order, place


def _sides(boxes: ndarray) -> tuple[ndarray, ...]:
    """x0, y0, x1, y1 and area of boxes (N, 4) of x, y, width, height, as arrays (N,)."""
    x, y, width, height = np.ascontiguousarray(boxes.T)
    return x, y, width + x, height + y, width * height


def _pairs(d: ndarray, o: ndarray, found: tuple[ndarray, ...], real: tuple[ndarray, ...]) -> tuple[ndarray, ...]:
    """The columns of `Overlaps` for candidate pairs of detections `d` (P,) and objects `o` (P,)."""
    width = np.minimum(found[2][d], real[2][o]) - np.maximum(found[0][d], real[0][o])
    height = np.minimum(found[3][d], real[3][o]) - np.maximum(found[1][d], real[1][o])
    touch = np.flatnonzero((width > 0) & (height > 0))
    d, o, shared = d[touch], o[touch], width[touch] * height[touch]
    area = found[4][d]
    covered = shared / area
    near = np.flatnonzero(covered >= _LEAST)
    iou = shared[near] / (area[near] + real[4][o[near]] - shared[near])
    return d[near], o[near], iou, covered[near]


def match(
    overlaps: Overlaps,
    pairs: ndarray,
    iou: ndarray,
    turn: ndarray,
    thresholds: ndarray,
    ignored: ndarray,
    shared: ndarray,
) -> ndarray:
    """Matches detections with objects, as COCO's evaluation does, for many thresholds at once.

    One detection after the other takes, of the free objects whose IoU with the detection is the threshold or more, the
    object with the largest IoU, the last of equals. A detection takes an ignored object only if no other is left.
    Detections of one turn must not compete: no two of them have an object in common.

    Args:
        overlaps: the overlaps.
        pairs: numbers of the pairs that may become matches (Q,).
        iou: the overlap of each of these pairs (Q,).
        turn: when each detection takes its turn, from 0 (N,).
        thresholds: IoU thresholds (T,).
        ignored: for each way, which objects are ignored (A, M).
        shared: whether any number of detections may take the object (M,).

    Returns:
        (N, A, T), the number of each detection's object; -1 without one.
    """
    free = np.ones((len(shared), len(ignored), len(thresholds)), bool)
    result = np.full((len(turn), len(ignored), len(thresholds)), -1, np.int32)
    turns, d, o = turn[overlaps.detection[pairs]], overlaps.detection[pairs], overlaps.object[pairs]
    # A later pair is the better one, so that a detection's best pair is the largest place of its pairs.
    order = np.lexsort((o, iou, d, turns))
    turns, d, o, iou = turns[order], d[order], o[order], iou[order]
    places = np.arange(len(order), dtype=np.int32)[:, None, None]
    for start, end in itertools.pairwise([*np.flatnonzero(np.diff(turns, prepend=-1)), len(order)]):
        now = slice(start, end)
        allowed = free[o[now]] & (iou[now, None] >= thresholds)[:, None]
        counts = ~ignored.T[o[now], :, None]
        key = np.where(allowed, places[now] + len(order) * counts.astype(np.int64), -1)
        firsts = np.flatnonzero(np.diff(d[now], prepend=-1))
        best = key if len(firsts) == len(key) else np.maximum.reduceat(key, firsts, axis=0)
        who, way, level = np.nonzero(best >= 0)
        taken = o[best[who, way, level] % len(order)]
        result[d[now][firsts[who]], way, level] = taken
        free[taken, way, level] = shared[taken]
    return result
