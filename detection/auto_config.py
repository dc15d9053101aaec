"""Fits a config for COCO or VOC to other data and to a CPU: schedule to images, anchors to boxes, batch to memory."""

from __future__ import annotations

from collections.abc import Collection

from detection.data.catalog import is_trained_on

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

# detectron2 trains 90k iterations on COCO's 117,266 images and 18k iterations on VOC's 16,551, with batches of 16. Here
# the number of iterations is the power of the number of images that goes through both: 12 epochs on COCO, 17 on VOC,
# about 40 on 200 images.
_EXPONENT = np.log(90_000 / 18_000) / np.log(117_266 / 16_551)
# An anchor matches a box well enough if their sizes differ by no more than this factor.
_CLOSE = 2**0.5
_ASPECT_RATIOS = (0.2, 1 / 3, 0.5, 1.0, 2.0, 3.0, 5.0)
# In training an image of COCO's size, short side 800 pixels, takes about 1.5 GiB with ResNet-50 and a feature pyramid.
_SHORT, _AT_A_TIME = 800, 2
_APART = {"", "FrozenBN", "GN"}  # norms that treat each image by itself


def resolve_schedule_and_anchors(
    cfg: CfgNode, overridden_keys: Collection[str], schedule_batch_size: int, *, anchors: bool
) -> list[str]:
    """Scales the schedule and the anchors of a config to the data in DATASETS.TRAIN.

    DATASETS.SCHEDULE_IMAGES is the number of images that the config's schedule is meant for. Nothing is scaled if
    SCHEDULE_IMAGES is 0 or equals the number of training images.

    Args:
        cfg: config whose training data are registered. The function changes it.
        overridden_keys: keys that the user has set. Their values stay.
        schedule_batch_size: the SOLVER.IMS_PER_BATCH that the config's iterations are meant for.
        anchors: whether to scale the anchors, too. False if the run starts from a detector, which has anchors already.

    Returns:
        lines for the log that say what was chosen and why.
    """
    records = [r for name in cfg.DATASETS.TRAIN for r in DatasetCatalog.get(name)]
    reference = cfg.DATASETS.SCHEDULE_IMAGES
    if not reference or len(records) == reference:
        return []
    cfg.DATASETS.SCHEDULE_IMAGES = 0  # a later run may read this config from OUTPUT_DIR and must not scale it again
    lines = _resolve_schedule(cfg, overridden_keys, schedule_batch_size, len(records), reference)
    return lines + (_resolve_anchors(cfg, overridden_keys, records) if anchors else [])


def resolve_micro_batches(cfg: CfgNode, overridden_keys: Collection[str]) -> list[str]:
    """Splits a batch of large images on a CPU into micro-batches, whose feature maps fit into most machines' memory.

    A norm that learns from the batch would see fewer images: with such norms the batch stays whole.

    Args:
        cfg: the config; SOLVER.ACCUMULATE is changed.
        overridden_keys: keys that the user has set.

    Returns:
        lines for the log on what was changed.
    """
    norms = {cfg.MODEL.RESNETS.NORM, cfg.MODEL.FPN.NORM, cfg.MODEL.ROI_BOX_HEAD.NORM}
    if torch.device(cfg.MODEL.DEVICE).type != "cpu" or "SOLVER.ACCUMULATE" in overridden_keys or norms - _APART:
        return []
    images = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // cfg.SOLVER.ACCUMULATE
    short = max(cfg.INPUT.MIN_SIZE_TRAIN) or _SHORT
    fitting = max(_AT_A_TIME * _SHORT**2 // short**2, 1)
    parts = next(parts for parts in range(1, images + 1) if images % parts == 0 and images // parts <= fitting)
    cfg.SOLVER.ACCUMULATE *= parts
    if parts == 1:
        return []
    return [
        f"micro-batches: {images // parts} of {images} images at a time, since a CPU's memory holds no more; "
        "SOLVER.ACCUMULATE sets another number"
    ]


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
        f"scaled to the data: {length} iterations of {solver.IMS_PER_BATCH} images, {epochs:.0f} epochs of {images} "
        f"images (the config has {before} iterations for {reference} images); to choose another length, set "
        "SOLVER.MAX_ITER"
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
                f"{before}); to choose others, set MODEL.ANCHOR_GENERATOR.SIZES"
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
                f"{tall:.2f} (the config has {before}); to choose others, set MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"
            )
    return lines


def _boxes_as_seen(cfg: CfgNode, records: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """The sizes and shapes of all boxes that training uses.

    Returns:
        (B,) square root of each box's area in pixels of the resized image, and (B,) height / width of each box.
    """
    short, long = float(np.median(cfg.INPUT.MIN_SIZE_TRAIN)), cfg.INPUT.MAX_SIZE_TRAIN
    difficult = cfg.DATASETS.TRAIN_ON_DIFFICULT
    boxes, scales = [], []
    for record in records:
        sides = record["height"], record["width"]
        used = [a["bbox"] for a in record["annotations"] if is_trained_on(a, difficult)]
        boxes += used
        scales += [min(short / min(sides), long / max(sides))] * len(used)
    first, last = np.array(boxes).reshape(-1, 2, 2).transpose(1, 2, 0)
    width, height = last - first
    return np.array(scales) * np.sqrt(width * height), height / width


def _sizes(before: list[list[float]], low: float, high: float) -> list[list[float]]:
    """Anchor sizes of each map in pixels. The config's sizes stay if they match the boxes well enough.

    Args:
        before: the config's sizes, a list for each map.
        low: size of small boxes in pixels.
        high: size of large boxes in pixels.
    """
    flat = [size for level in before for size in level]
    if low >= min(flat) / _CLOSE and high <= max(flat) * _CLOSE:
        return before
    if len(before) == 1:  # one map: sizes from the smallest to the largest box, each double the size before
        # At least three sizes: if all boxes are alike, from half to twice the boxes' size. No size is below 4 px.
        low = max(min(low, np.sqrt(low * high) / 2), 4.0)
        high = max(high, 4 * low)
        count = round(np.log2(high / low)) + 1
        return [[int(size) for size in np.geomspace(low, high, count).round()]]
    middle = np.sqrt(low * high) / np.sqrt(min(flat) * max(flat))
    factor = float(np.clip(middle, 0.25, 2.0))  # the stride of a map bounds the sizes of objects on it
    return [[int(max(round(size * factor), 4)) for size in level] for level in before]
