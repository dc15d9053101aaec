"""Intervals of COCO's AP by bootstrap over the test images: how much of a figure may be chance of these images?

Matches are pycocotools' (area "all", 100 detections of an image), and are computed once. A resample draws as many
images as there are, with repeats, and only adds up: each image gets the number of times that it was drawn. AP of a
resample is AP that pycocotools computes on the drawn images, with repeats under new ids. (Where an image has detections
of a class with equal scores, their order among the repeats is not defined.)

Only true positives decide AP: precision is read at recalls, and recall rises at true positives alone.

Shapes: B resamples, I images, K classes, T = 10 IoU thresholds, N detections of a class, P true positives among these.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from detection.evaluation.coco_numbers import AREAS, IOUS, RECALLS, match_by_class, overlaps_of_files

import numpy as np
from numpy import ndarray

RESAMPLES = 1000
_AT_ONCE = 50  # resamples computed together: bounds the memory
_MIDDLE = (2.5, 97.5)  # percentiles that bound 95 %


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class, best score first.

    Attributes:
        images: index of each detection's image (N,).
        hits: for each IoU threshold, the places of the true positives among the detections (P,).
        ignored: for each IoU threshold, the places of the detections that do not count, since they lie on a crowd.
    """

    images: ndarray
    hits: list[ndarray]
    ignored: list[ndarray]


@dataclass(frozen=True)
class Matched:
    """Detections of a whole test set, matched with its objects.

    Attributes:
        images: number of images I.
        objects: number of objects that count, of each image and class (I, K).
        classes: the matches of each class.
    """

    images: int
    objects: ndarray
    classes: list[ClassMatches]


def match(truth: dict, results: list[dict]) -> Matched:
    """Matches detections with objects, as pycocotools does.

    Args:
        truth: the content of a COCO annotation file. An annotation's `difficult` does not count, as in COCO's AP.
        results: the detections, in COCO's result format, with the ids of `truth`.
    """
    overlaps, classes = overlaps_of_files(truth, results), len(truth["categories"])
    matches = match_by_class(overlaps, classes, AREAS[:1])
    found, objects = overlaps.detections, overlaps.objects
    images = found.of_images(range(len(found.images)))[matches.rows]
    counts = np.zeros((len(found.images), classes), np.int64)
    image_of_object = np.repeat(range(len(found.images)), np.diff(objects.starts))
    np.add.at(counts, (image_of_object[~objects.crowd], objects.classes[~objects.crowd]), 1)
    of_classes = []
    for start, end in itertools.pairwise(matches.starts):
        hits, ignored = (matrix[start:end, 0].T for matrix in (matches.hit, matches.ignored))
        of_classes.append(
            ClassMatches(images[start:end], [*map(np.flatnonzero, hits)], [*map(np.flatnonzero, ignored)])
        )
    return Matched(len(found.images), counts, of_classes)


def draws(images: int, resamples: int = RESAMPLES, seed: int = 0) -> ndarray:
    """How often each image is drawn in each resample. Detectors that are to be compared take the same draws.

    Args:
        images: number of images I.
        resamples: number of resamples B.
        seed: seed of the random numbers.

    Returns:
        (B, I) counts; each row sums up to I.
    """
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def average_precision(matched: Matched, weights: ndarray) -> ndarray:
    """AP of each resample, IoU threshold and class, from 0 to 1.

    Args:
        matched: the matches.
        weights: how often each image counts (B, I); one row of ones gives AP of the test set itself.

    Returns:
        (B, T, K); NaN where no object of a class counts.
    """
    result = np.zeros((len(weights), len(IOUS), len(matched.classes)))
    for first in range(0, len(weights), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        objects = weights[rows] @ matched.objects
        for k, of_class in enumerate(matched.classes):
            result[rows, :, k] = _of_class(of_class, weights[rows], objects[:, k])
    return result


def _of_class(matches: ClassMatches, weights: ndarray, objects: ndarray) -> ndarray:
    """AP of one class (B, T)."""
    counts = weights[:, matches.images].astype(np.int32)  # (B, N)
    seen = np.cumsum(counts, axis=1)
    result = np.zeros((len(weights), len(IOUS)))
    for t, (hits, ignored) in enumerate(zip(matches.hits, matches.ignored, strict=True)):
        if len(hits):
            counted = seen[:, hits]
            if len(ignored):
                before = np.cumsum(counts[:, ignored], axis=1)
                place = np.searchsorted(ignored, hits)
                counted = counted - np.where(place > 0, before[:, place - 1], 0)
            result[:, t] = _area(np.cumsum(counts[:, hits], axis=1), counted, objects)
    result[objects == 0] = np.nan
    return result


def _area(true: ndarray, counted: ndarray, objects: ndarray) -> ndarray:
    """The mean of the precision at 101 recalls (B,).

    Args:
        true: number of true positives up to and with each true positive (B, P).
        counted: number of detections that count, up to and with each true positive (B, P).
        objects: number of objects (B,).
    """
    precision = true / (counted + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Number of the recalls that have been reached with each true positive: each reads the envelope there.
    reached = np.searchsorted(RECALLS, true / np.maximum(objects, 1)[:, None], side="right")
    return np.sum(np.diff(reached, axis=1, prepend=0) * envelope, axis=1) / len(RECALLS)


def figures(precision: ndarray, classes: Sequence[str]) -> dict[str, ndarray]:
    """AP, AP50, AP75 and AP of each class of every resample, in %.

    Args:
        precision: what `average_precision` returned (B, T, K).
        classes: names of the classes.

    Returns:
        "AP", "AP50", "AP75" and "AP-CLASS" -> (B,); NaN where no object counts.
    """
    values = {"AP": _mean(precision, (1, 2)), "AP50": _mean(precision[:, :1], (1, 2))}
    values["AP75"] = _mean(precision[:, 5:6], (1, 2))
    values |= {f"AP-{name}": _mean(precision[:, :, k], 1) for k, name in enumerate(classes)}
    return {name: 100 * v for name, v in values.items()}


def interval(values: ndarray, estimate: float) -> tuple[float, float]:
    """The bounds of a 95 % interval: the basic bootstrap interval.

    AP of few images is too high on average: the envelope of the precision takes the best of chance. AP of a resample
    is too high again, by about as much, so the middle 95 % of the resamples would lie too high twice. The basic
    interval turns the distances of the resamples from the estimate round, which takes the bias out. docs/compare.md has
    how often each kind covers the truth.

    Args:
        values: the figure in each resample (B,).
        estimate: the figure of the test set itself.

    Returns:
        the bounds; NaN where no resample has a value.
    """
    counted = values[~np.isnan(values)]
    if not len(counted):
        return float("nan"), float("nan")
    low, high = np.percentile(counted, _MIDDLE)
    return float(2 * estimate - high), float(2 * estimate - low)


def over_seeds(of_seeds: ndarray, seed: int = 0) -> ndarray:
    """Resamples of the mean over seeds: images are drawn, and seeds too.

    Resampled means of S seeds vary (S - 1) / S as much as means of S new seeds would, so they are moved away from
    the mean by √(S / (S - 1)). With one seed, the images alone are drawn, and the interval says nothing of chance in
    training.

    Args:
        of_seeds: a figure of each seed's detector in each resample of the images (S, B); or the difference of two
            networks' figures, seed by seed, in the same resamples.
        seed: seed of the random numbers.

    Returns:
        (B,).
    """
    seeds, resamples = of_seeds.shape
    mean = of_seeds.mean(axis=0)
    if seeds == 1:
        return mean
    drawn = np.random.default_rng(seed + 1).integers(0, seeds, (seeds, resamples))
    resampled = np.take_along_axis(of_seeds, drawn, axis=0).mean(axis=0)
    return mean + np.sqrt(seeds / (seeds - 1)) * (resampled - mean)


def _mean(values: ndarray, axes) -> ndarray:
    """The mean without NaN; NaN where nothing else is. Without a warning."""
    there = ~np.isnan(values)
    count = there.sum(axis=axes)
    return np.where(count > 0, np.where(there, values, 0).sum(axis=axes) / np.maximum(count, 1), np.nan)
