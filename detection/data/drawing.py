"""Draws boxes on images. A class has the same colour in every picture of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from detectron2.utils.visualizer import Visualizer


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: Sequence[int],
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Draws boxes on an image, each with the name of its class.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the image.
        classes: for each box, the index of its class in `names`.
        names: names of the classes.
        scores: for each box, the score of the detection, from 0 to 1; None draws no scores.
        scale: factor by which the picture is larger than the image.

    Returns:
        (H * scale, W * scale, 3) uint8 RGB.
    """
    labels = [names[i] for i in classes]
    if scores is not None:
        labels = [f"{label} {score:.0%}" for label, score in zip(labels, scores, strict=True)]
    palette = matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20"].colors
    colours = [palette[i % len(palette)] for i in classes]
    drawn = Visualizer(image, scale=scale).overlay_instances(
        boxes=np.asarray(boxes, dtype=float).reshape(-1, 4), labels=labels, assigned_colors=colours
    )
    return drawn.get_image()
