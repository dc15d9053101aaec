"""Fits a config for COCO or VOC to a data set of another size: anchors from its boxes, schedule from its images."""

from __future__ import annotations

from collections.abc import Collection

from detection.data.catalog import is_trained_on

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

# detectron2 trains 90k iterations of 16 on COCO's 117,266 images and 18k on VOC's 16,551. A power of the number of
# images through both: 12 epochs of COCO, 17 of VOC, about 40 of 200 images.
_EXPONENT = np.log(90_000 / 18_000) / np.log(117_266 / 16_551)
# Anchors within this factor of the boxes' sizes match them well enough.
_CLOSE = 2**0.5
_ASPECT_RATIOS = (0.2, 1 / 3, 0.5, 1.0, 2.0, 3.0, 5.0)


def resolve_schedule_and_anchors(
    cfg: CfgNode, overridden_keys: Collection[str], schedule_batch_size: int, *, anchors: bool
) -> list[str]:
    """Scales schedule and anchors to DATASETS.TRAIN, where DATASETS.SCHEDULE_IMAGES says what they are meant for.

    Args:
        cfg: its training data is registered.
        overridden_keys: keys that the user has set; they stay as they are.
        schedule_batch_size: SOLVER.IMS_PER_BATCH that the config's iterations are meant for.
        anchors: scale the anchors too; False where a detector to start from brings its own.

    Returns:
        lines for the log that say what was chosen and why.
    """
    records = [r for name in cfg.DATASETS.TRAIN for r in DatasetCatalog.get(name)]
    reference = cfg.DATASETS.SCHEDULE_IMAGES
    if not reference or len(records) == reference:
        return []
    cfg.DATASETS.SCHEDULE_IMAGES = 0  # done: --resume reads the config that this run leaves, and must not scale again
    lines = _resolve_schedule(cfg, overridden_keys, schedule_batch_size, len(records), reference)
    return lines + (_resolve_anchors(cfg, overridden_keys, records) if anchors else [])


def _resolve_schedule(
    cfg: CfgNode, overridden_keys: Collection[str], schedule_batch_size: int, images: int, reference: int
) -> list[str]:
    if "SOLVER.MAX_ITER" in overridden_keys:
        return []
    solver = cfg.SOLVER
    factor = (images / reference) ** _EXPONENT * schedule_batch_size / solver.IMS_PER_BATCH
    before, length = solver.MAX_ITER, max(round(solver.MAX_ITER * factor), 1)
    solver.MAX_ITER = length
    if "SOLVER.STEPS" not in overridden_keys:
        solver.STEPS = tuple(round(step * length / before) for step in solver.STEPS)
    if "SOLVER.WARMUP_ITERS" not in overridden_keys:
        solver.WARMUP_ITERS = min(solver.WARMUP_ITERS, max(length // 20, 1))
    if "SOLVER.CHECKPOINT_PERIOD" not in overridden_keys:
        solver.CHECKPOINT_PERIOD = min(solver.CHECKPOINT_PERIOD, max(length // 10, 1))
    epochs = length * solver.IMS_PER_BATCH / images
    return [
        f"schedule: {length} iterations of {solver.IMS_PER_BATCH}, {epochs:.0f} epochs of {images} images, steps at "
        f"{list(solver.STEPS)}, warm-up {solver.WARMUP_ITERS} (the config has {before} for {reference} images); "
        "SOLVER.MAX_ITER sets another"
    ]


def _resolve_anchors(cfg: CfgNode, overridden_keys: Collection[str], records: list[dict]) -> list[str]:
    sides, ratios = _boxes_as_seen(cfg, records)
    anchors, lines = cfg.MODEL.ANCHOR_GENERATOR, []
    low, high = np.percentile(sides, [5, 95])
    if "MODEL.ANCHOR_GENERATOR.SIZES" not in overridden_keys:
        sizes, before = _sizes(anchors.SIZES, low, high), anchors.SIZES
        if sizes != before:
            anchors.SIZES = sizes
            lines.append(
                f"anchors: sizes {sizes} for boxes of {low:.0f} to {high:.0f} px after resizing (the config has "
                f"{before}); MODEL.ANCHOR_GENERATOR.SIZES sets others"
            )
    if "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS" not in overridden_keys:
        before = list(anchors.ASPECT_RATIOS[0])
        flat, tall = np.percentile(ratios, [5, 95])
        inside = [r for r in _ASPECT_RATIOS if flat / _CLOSE <= r <= tall * _CLOSE]
        ratios_now = sorted({*before, *inside})
        if ratios_now != before:
            anchors.ASPECT_RATIOS = [ratios_now]
            lines.append(
                f"anchors: aspect ratios {[round(r, 2) for r in ratios_now]} for boxes of height / width {flat:.2f} to "
                f"{tall:.2f} (the config has {before}); MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS sets others"
            )
    return lines


def _boxes_as_seen(cfg: CfgNode, records: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """sqrt(area) in pixels of the resized image, and height / width, of every box that is trained on."""
    sides, ratios = [], []
    short = float(np.median(cfg.INPUT.MIN_SIZE_TRAIN))
    for record in records:
        height, width = record["height"], record["width"]
        scale = min(short / min(height, width), cfg.INPUT.MAX_SIZE_TRAIN / max(height, width))
        for annotation in record["annotations"]:
            if is_trained_on(annotation, cfg.DATASETS.TRAIN_ON_DIFFICULT):
                x0, y0, x1, y1 = annotation["bbox"]
                sides.append(scale * ((x1 - x0) * (y1 - y0)) ** 0.5)
                ratios.append((y1 - y0) / (x1 - x0))
    return np.array(sides), np.array(ratios)


def _sizes(before: list[list[float]], low: float, high: float) -> list[list[float]]:
    """Sizes per level; those of the config where the boxes lie between them, or hardly beyond."""
    flat = [size for level in before for size in level]
    if low >= min(flat) / _CLOSE and high <= max(flat) * _CLOSE:
        return before
    if len(before) == 1:  # one map: sizes from the least to the largest box, each double the one before
        # Three at least, from half to twice the boxes' size where all are alike; none less than 4 px.
        low = max(min(low, np.sqrt(low * high) / 2), 4.0)
        high = max(high, 4 * low)
        count = round(np.log2(high / low)) + 1
        return [[int(size) for size in np.geomspace(low, high, count).round()]]
    middle = np.sqrt(low * high) / np.sqrt(min(flat) * max(flat))
    factor = float(np.clip(middle, 0.25, 2.0))  # a level's stride bounds what it can find
    return [[int(max(round(size * factor), 4)) for size in level] for level in before]
