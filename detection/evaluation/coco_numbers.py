"""COCO's average precision and recall of boxes, computed with arrays. The values are pycocotools', to the last bit.

Shapes: N detections, K classes, A areas, T IoU thresholds, R recalls.
"""

from __future__ import annotations

from dataclasses import dataclass

from detection.evaluation.overlaps import DatasetDetections, DatasetObjects, Overlaps, match

import numpy as np
from numpy import ndarray

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # all, small, medium, large; square pixels
_DETECTIONS = (1, 10, 100)  # the best detections of a class that count, of each image


@dataclass(frozen=True)
class COCOMatches:
    """The detections that count, by class, then by score, matched with the objects.

    Attributes:
        rows: numbers of the detections (N,).
        starts: place in `rows` of each class's first detection, and N at the end (K + 1,).
        places: place of each detection among those of its image and class, best score first, from 0 (N,).
        hit: whether the detection is a true positive (N, A, T).
        ignored: whether the detection does not count, as neither true nor false (N, A, T).
        objects: number of objects that count (K, A).
    """

    rows: ndarray
    starts: ndarray
    places: ndarray
    hit: ndarray
    ignored: ndarray
    objects: ndarray


def match_by_class(overlaps: Overlaps, classes: int, areas: ndarray = AREAS) -> COCOMatches:
    """Matches detections with the objects of their class, as pycocotools does.

    Args:
        overlaps: detections and objects.
        classes: number of classes K.
        areas: least and largest area of the objects that count, in square pixels (A, 2).
    """
    found, objects = overlaps.detections, overlaps.objects
    order, places = overlaps.ranks(found.of_images(range(len(found.images))) * classes + found.classes)
    order = order[places[order] < _DETECTIONS[-1]]
    outside = (objects.areas < areas[:, :1]) | (objects.areas > areas[:, 1:])
    ignored = objects.crowd | outside
    iou = np.where(objects.crowd[overlaps.object], overlaps.covered, overlaps.iou)
    pairs = np.flatnonzero(overlaps.same_class() & (iou >= IOUS[0]) & (places[overlaps.detection] < _DETECTIONS[-1]))
    matched = match(overlaps, pairs, iou[pairs], places, IOUS, ignored, objects.crowd)
    rows = order[np.lexsort((-found.scores[order], found.classes[order]))]
    matched, own_areas = matched[rows], np.prod(found.boxes[rows, 2:], axis=1)[:, None]
    own_outside = (own_areas < areas[:, 0]) | (own_areas > areas[:, 1])
    of_object = np.append(ignored, np.zeros((len(areas), 1), bool), axis=1)  # the last column is for no object
    on_ignored = of_object[np.arange(len(areas))[:, None], matched]
    return COCOMatches(
        rows,
        np.searchsorted(found.classes[rows], np.arange(classes + 1)),
        places[rows],
        (matched >= 0) & ~on_ignored,
        np.where(matched >= 0, on_ignored, own_outside[:, :, None]),
        np.stack([np.bincount(objects.classes[~i], minlength=classes) for i in ignored], axis=1),
    )


def coco_numbers(overlaps: Overlaps, classes: int) -> tuple[ndarray, ndarray]:
    """Computes the 12 numbers of COCO's evaluation of boxes.

    Args:
        overlaps: detections and objects.
        classes: number of classes K.

    Returns:
        the 12 numbers of pycocotools' COCOeval.stats, (12,), from 0 to 1, or -1 if no object counts for a number; and
        the precision of objects of all areas at 100 detections, (T, R, K), -1 for a class without objects.
    """
    matches = match_by_class(overlaps, classes)
    precision = np.full((len(IOUS), len(RECALLS), classes, len(AREAS)), -1.0)
    recall = np.full((len(IOUS), classes, len(AREAS), len(_DETECTIONS)), -1.0)
    for k, (start, end) in enumerate(zip(matches.starts, matches.starts[1:], strict=False)):
        counted = np.flatnonzero(matches.objects[k])
        hit, objects = matches.hit[start:end, counted], matches.objects[k, counted, None]
        for m, limit in enumerate(_DETECTIONS):
            recall[:, k, counted, m] = (hit[matches.places[start:end] < limit].sum(axis=0) / objects).T
        if start < end:
            true = np.cumsum(hit, axis=0)
            false = np.cumsum(~hit & ~matches.ignored[start:end, counted], axis=0)
            values = true / (true + false + np.spacing(1))
            precision[:, :, k, counted] = _at_recalls(true / objects, values)
        else:
            precision[:, :, k, counted] = 0
    means = [precision, precision[:1], precision[5:6], *(precision[..., a] for a in (1, 2, 3))]
    means[:3] = [m[..., 0] for m in means[:3]]
    means += [recall[:, :, 0, m] for m in range(3)] + [recall[:, :, a, 2] for a in (1, 2, 3)]
    return np.array([m[m > -1].mean() if (m > -1).any() else -1 for m in means]), precision[..., 0]


def _at_recalls(recall: ndarray, precision: ndarray) -> ndarray:
    """The best precision at each of the recalls or beyond (T, R, A); 0 where no detection reaches the recall.

    Args:
        recall: recall after each detection, best score first (N, A, T).
        precision: precision after each detection (N, A, T).
    """
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    result = np.zeros((recall.shape[2], len(RECALLS), recall.shape[1]))
    for a, t in np.ndindex(recall.shape[1:]):
        reached = np.searchsorted(recall[:, a, t], RECALLS, side="left")
        reached = reached[reached < len(recall)]
        result[t, : len(reached), a] = envelope[reached, a, t]
    return result


def overlaps_of_files(truth: dict, results: list[dict]) -> Overlaps:
    """The overlaps of objects and detections in COCO's formats. The classes are numbered in the order of their ids.

    Args:
        truth: the content of a COCO annotation file.
        results: detections in COCO's result format, of images of `truth`.
    """
    images, classes = ({key: i for i, key in enumerate(sorted(x["id"] for x in truth[k]))} for k in _LISTS)
    boxes, image, kind, scores = _columns([d for d in results if d["category_id"] in classes], images, classes, "score")
    starts = np.searchsorted(image, np.arange(len(images) + 1))
    detections = DatasetDetections([*images], starts, boxes, scores, kind)
    annotations = [a for a in truth["annotations"] if a["category_id"] in classes]
    boxes, image, kind, areas, crowd = _columns(annotations, images, classes, "area", "iscrowd")
    starts = np.searchsorted(image, np.arange(len(images) + 1))
    crowd = crowd.astype(bool)
    return Overlaps.of(detections, DatasetObjects(starts, boxes, areas, kind, crowd, np.zeros_like(crowd)))


_LISTS = ("images", "categories")


def _columns(entries: list[dict], images: dict, classes: dict, *keys: str) -> list[ndarray]:
    """Boxes (N, 4), index of the image (N,), index of the class (N,), and values of `keys` (N,); sorted by image."""
    image = np.array([images[e["image_id"]] for e in entries], int)
    order = np.argsort(image, kind="stable")
    boxes = np.array([e["bbox"] for e in entries], float).reshape(-1, 4)
    kinds = np.array([classes[e["category_id"]] for e in entries], int)
    columns = [np.array([e[key] for e in entries], float) for key in keys]
    return [column[order] for column in (boxes, image, kinds, *columns)]
