"""Compares the detections of two forms of one detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backbones.errors import InputError

import torch
from detectron2.structures import Instances
from torch import Tensor

# Largest differences between the two forms: of a box's side in pixels of the given image, and of a score.
PIXELS, SCORE = 0.5, 1e-3

Detect = Callable[[list[dict]], list[dict]]


@dataclass(frozen=True)
class Parity:
    """How the detections of two forms differ.

    Attributes:
        images: number of images.
        detections: number of detections of the first form.
        pixels: largest difference of a box's side, in pixels of the given image.
        score: largest difference of a score.
    """

    images: int
    detections: int
    pixels: float
    score: float


def detections_to_check(model: Detect, images: Sequence[dict]) -> list[Instances]:
    """What a model detects in each image, for `check_parity`.

    Args:
        model: as detectron2's models are called.
        images: inputs, one image each.

    Raises:
        InputError: the model detects nothing in the images.
    """
    detected = [_detections(model, image) for image in images]
    if not any(map(len, detected)):
        raise InputError(f"the model detects nothing in {len(images)} images; check with images that show its classes")
    return detected


def check_parity(
    detected: Sequence[Instances], other: Detect, images: Sequence[dict], threshold: float, topk: int
) -> Parity:
    """Checks that another form of a detector detects the same objects, to `PIXELS` and `SCORE`.

    A detection whose score is within `SCORE` of the lowest score that a detection can have may be missing.

    Args:
        detected: of each image what the form that is right detects.
        other: the form to check, as detectron2's models are called.
        images: inputs, one image each.
        threshold: the score that detections exceed.
        topk: the largest number of detections of an image.

    Raises:
        InputError: the forms differ.
    """
    pixels = score = 0.0
    for image, expected in zip(images, detected, strict=True):
        exported = _detections(other, image)
        least = max(threshold, float(expected.scores.min()) if len(expected) == topk else 0.0) + SCORE
        sides, scores = _differences(expected, exported)
        pairs = (sides <= PIXELS) & (scores <= SCORE)
        lost = (~pairs.any(dim=1) & (expected.scores > least)).sum()
        gained = (~pairs.any(dim=0) & (exported.scores > least)).sum()
        if lost or gained:
            raise InputError(
                f"{image.get('file_name', 'an image')}: the exported detector differs from the model: of "
                f"{len(expected)} detections {lost} are not found, and {gained} of {len(exported)} are new (to "
                f"{PIXELS} pixels and {SCORE} of the score)"
            )
        if pairs.any():
            pixels = max(pixels, float(_closest(sides, pairs).max()))
            score = max(score, float(_closest(scores, pairs).max()))
    return Parity(len(images), sum(map(len, detected)), pixels, score)


@torch.no_grad()
def _detections(detect: Detect, image: dict) -> Instances:
    try:
        return detect([image])[0]["instances"].to("cpu")
    except RuntimeError as e:  # torch.export's programs assume that there are at least two detections
        reason = str(e).strip().splitlines()[0]
        raise InputError(f"{image.get('file_name', 'an image')}: the exported detector fails: {reason}") from e


def _differences(expected: Instances, exported: Instances) -> tuple[Tensor, Tensor]:
    """(E, X) largest difference of a side, infinite for other classes; and (E, X) difference of the scores."""
    sides = (expected.pred_boxes.tensor[:, None] - exported.pred_boxes.tensor[None]).abs().amax(dim=2)
    other_class = expected.pred_classes[:, None] != exported.pred_classes[None]
    return sides.masked_fill(other_class, float("inf")), (expected.scores[:, None] - exported.scores[None]).abs()


def _closest(difference: Tensor, pairs: Tensor) -> Tensor:
    """The difference from each detection to its closest partner, of the detections that have one."""
    return difference.masked_fill(~pairs, float("inf")).amin(dim=1)[pairs.any(dim=1)]
