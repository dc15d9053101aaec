"""ImageNet DET's average precision, against the rules of ILSVRC's development kit written out one by one."""

import math

from detection.evaluation.imagenet_det import average_precisions
from detection.evaluation.overlaps import DatasetDetections, DatasetObjects, Overlaps

import numpy as np
import pytest

CLASSES = 3


def overlaps_of(images):
    """Images as pairs (objects, detections) of (x0, y0, x1, y1, class) and (x0, y0, x1, y1, class, score)."""
    objects = [[{"bbox": o[:4], "category_id": o[4], "iscrowd": 0} for o in own] for own, _ in images]
    found = []
    for _, own in images:
        rows = np.array(own, float).reshape(-1, 6)
        boxes = np.column_stack([rows[:, :2], rows[:, 2:4] - rows[:, :2]])
        found.append((boxes, rows[:, 5], rows[:, 4].astype(int)))
    return Overlaps.of(DatasetDetections.join(range(len(images)), found), DatasetObjects.join(objects))


def iou_of(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def by_the_rules(images, label):
    """AP of a class: match in each image by falling score, then VOC's area under the envelope."""
    results, count = [], 0
    for objects, detections in images:
        own, taken = [o for o in objects if o[4] == label], set()
        count += len(own)
        for d in sorted((d for d in detections if d[4] == label), key=lambda d: -d[5]):
            best, best_iou = None, -1.0
            for k, o in enumerate(own):
                w, h = o[2] - o[0], o[3] - o[1]
                demanded = min(0.5, w * h / ((w + 10) * (h + 10)))
                if k not in taken and iou_of(d, o) >= demanded and iou_of(d, o) > best_iou:
                    best, best_iou = k, iou_of(d, o)
            taken |= {best} - {None}
            results.append((d[5], best is not None))
    hits = [hit for _, hit in sorted(results, key=lambda r: -r[0])]
    if not count:
        return math.nan
    true = np.cumsum(hits)
    recall, precision = [0, *true / count, 1], [0, *true / np.arange(1, len(hits) + 1), 0]
    precision = [max(precision[i:]) for i in range(len(precision))]
    return 100 * sum((b - a) * p for a, b, p in zip(recall[:-1], recall[1:], precision[1:], strict=True))


def random_images(seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(30):
        sides, place = rng.uniform(6, 60, (5, 2)), rng.uniform(0, 60, (5, 2))
        objects = [(*p, *(p + s), int(rng.integers(CLASSES))) for p, s in zip(place, sides, strict=True)]
        moved = [(np.array(o[:4]) + rng.normal(0, 4, 4), o[4]) for o in objects for _ in range(2)]
        images.append(
            (
                objects,
                [
                    (*np.minimum(b[:2], b[2:] - 1), *b[2:], k if rng.random() < 0.9 else (k + 1) % CLASSES, s)
                    for (b, k), s in zip(moved, rng.permutation(999) / 1000, strict=False)
                ],
            )
        )
    return images


@pytest.mark.parametrize("seed", range(3))
def test_ap_is_that_of_the_development_kit(seed):
    images = random_images(seed)
    expected = [by_the_rules(images, label) for label in range(CLASSES)]
    assert all(10 < ap < 90 for ap in expected)
    assert average_precisions(overlaps_of(images), CLASSES) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "demanded"), [(10, 0.25), (20, 4 / 9), (100, 0.5)])
def test_small_objects_are_found_with_less_overlap(side, demanded):
    """eval_detection.m: thr = gt_w * gt_h / ((gt_w + 10) * (gt_h + 10)), at most 0.5."""
    for iou, ap in ((demanded + 0.01, 100), (demanded - 0.01, 0)):
        images = [([(0, 0, side, side, 0)], [(0, 0, side, side * iou, 0, 0.9)])]
        assert average_precisions(overlaps_of(images), 1) == pytest.approx([ap])


def test_nothing_found_is_0_and_no_objects_are_nan():
    assert average_precisions(overlaps_of([([(0, 0, 9, 9, 0)], [])]), 2) == pytest.approx([0, math.nan], nan_ok=True)
