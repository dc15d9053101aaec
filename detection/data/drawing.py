"""Draws boxes on images: one colour a class, the same in every picture."""

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
    """The image with boxes and the names of their classes.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the image.
        classes: of each box, the index of its class in `names`.
        names: names of the classes.
        scores: of each box, from 0 to 1; None leaves scores out.
        scale: size of the picture, in sizes of the image.

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
