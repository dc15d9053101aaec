"""Intervals by bootstrap: AP of resamples against pycocotools on the repeated images."""

from detection.evaluation.bootstrap import average_precision, draws, figures, interval, match, over_seeds
from detection.evaluation.coco import coco_stats

import numpy as np
import pytest
from random_detections import CLASSES, as_coco, random_images


def reference(truth, found):
    """pycocotools' figures under the names of `figures`, in %."""
    stats, precision = coco_stats(truth, found, "pycocotools")
    values = dict(zip(("AP", "AP50", "AP75"), 100 * stats[:3], strict=True))
    for k, name in enumerate(CLASSES):
        of_class = precision[:, :, k]
        values[f"AP-{name}"] = 100 * of_class[of_class > -1].mean() if (of_class > -1).any() else np.nan
    return {name: np.nan if value < 0 else value for name, value in values.items()}


def ours(matched, weights):
    return figures(average_precision(matched, weights), CLASSES)


def repeated(truth, found, counts):
    """The drawn images, repeated under new ids."""
    images, annotations, detections = [], [], []
    for image, count in zip(truth["images"], counts, strict=True):
        for _ in range(count):
            new = {**image, "id": len(images) + 1}
            images.append(new)
            for a in (a for a in truth["annotations"] if a["image_id"] == image["id"]):
                annotations.append({**a, "id": len(annotations) + 1, "image_id": new["id"]})
            detections += [{**d, "image_id": new["id"]} for d in found if d["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, detections


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_pycocotools(seed):
    truth, found = as_coco(random_images(seed=seed))
    values = ours(match(truth, [dict(d) for d in found]), np.ones((1, len(truth["images"])), int))
    expected = reference(truth, found)
    assert expected["AP"] > 10
    for name, value in expected.items():
        np.testing.assert_allclose(values[name][0], value, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_pycocotools_on_the_repeated_images(seed):
    truth, found = as_coco(random_images(count=12, seed=seed))
    counts = draws(12, 70, seed)
    assert (counts.sum(axis=1) == 12).all()
    values = ours(match(truth, [dict(d) for d in found]), counts)
    for b in (0, 1, 2, 55, 69):  # in both portions
        for name, value in reference(*repeated(truth, found, counts[b])).items():
            np.testing.assert_allclose(values[name][b], value, rtol=0, atol=1e-10, err_msg=f"{name} {b}")


def test_more_than_a_hundred_detections_and_classes_without_objects():
    images = random_images(count=3, seed=5)
    images[0][0], images[0][2] = np.tile(images[0][0], (20, 1)), np.zeros(20 * len(images[0][2]), int)
    images[0][1] = np.linspace(0.9, 0.1, len(images[0][0]))
    for image in images:
        image[4][image[4] == 2] = 0  # no object of the last class
    truth, found = as_coco([tuple(i) for i in images])
    assert len([d for d in found if d["image_id"] == 7]) > 100
    values = ours(match(truth, [dict(d) for d in found]), np.ones((1, 3), int))
    expected = reference(truth, found)
    assert np.isnan(expected["AP-c"])
    for name, value in expected.items():
        np.testing.assert_allclose(values[name][0], value, rtol=0, atol=1e-10, err_msg=name)
    assert all(np.isnan(interval(values["AP-c"], np.nan)))


def test_without_detections_every_figure_is_zero():
    truth, _ = as_coco(random_images(count=4, seed=1))
    values = ours(match(truth, []), draws(4, 10))
    assert (values["AP"] == 0).all() and interval(values["AP50"], 0.0) == (0.0, 0.0)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """AP of many images of the same kind is the truth; intervals of few images, whose AP is too high on average."""

    def one_of(images, seed):
        truth, found = as_coco(images)
        scores = np.random.default_rng(seed).random(len(found))  # of the same distribution in every trial
        matched = match(truth, [{**d, "score": float(s)} for d, s in zip(found, scores, strict=True)])
        return matched, ours(matched, np.ones((1, len(images)), int))["AP"][0]

    truth = one_of(random_images(800, seed=99), 99)[1]
    basic, percentile = 0, 0
    for trial in range(30):
        matched, estimate = one_of(random_images(40, seed=trial), trial)
        values = ours(matched, draws(40, 200, trial))["AP"]
        low, high = interval(values, estimate)
        basic += low <= truth <= high
        low, high = np.percentile(values, (2.5, 97.5))
        percentile += low <= truth <= high
    assert percentile < basic and basic >= 26


def test_seeds_widen_an_interval_and_pairs_narrow_it():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, 4000)  # what a resample does to every detector
    one = np.stack([30 + images + level for level in (-1, 0, 1)])
    mean = over_seeds(one)
    assert mean.mean() == pytest.approx(30, abs=0.1)
    assert mean.std() == pytest.approx(np.sqrt(1 + 1 / 3), rel=0.05)  # of the images, and of a mean of 3 seeds
    assert over_seeds(one[:1]) == pytest.approx(one[0])
    low, high = interval(over_seeds(one + 0.5 - one), 0.5)
    assert (low, high) == pytest.approx((0.5, 0.5))
