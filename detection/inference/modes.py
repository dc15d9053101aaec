"""How the keys of TEST say that a trained detector is tested, and the detector's losses on test data.

A detector looks at each image once, unless one of three keys asks for more:

    TEST.AUG.ENABLED     flipped and resized copies of the image (detectron2's test-time augmentation)
    TEST.TILES.SIZE      the image and its tiles (tiles.py)
    TEST.REGION_SCALES   a pyramid of images (region_scales.py)
"""

from __future__ import annotations

import zlib

from backbones.errors import InputError
from detection.data.loader import build_test_loader
from detection.data.resizing import ResizeShortestEdge
from detection.heads.region_heads import RegionHeads
from detection.inference.region_scales import RegionScales
from detection.inference.tiles import TiledDetector
from residet.engine.loaders import seeded

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, GeneralizedRCNNWithTTA
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn


def resolve_plain_testing(cfg: CfgNode) -> None:
    """Sets the keys of TEST so that the detector looks at each image once: no copies, no tiles, no pyramid."""
    cfg.TEST.AUG.ENABLED = False
    cfg.TEST.TILES.SIZE = 0
    cfg.TEST.REGION_SCALES = ()


def as_tested(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model that is to be called on test images: `model` itself, or `model` wrapped in the way that TEST asks for.

    Raises:
        InputError: TEST.REGION_SCALES is set and the model's RoI heads do not support it.
    """
    test = cfg.TEST
    resize = ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    if not isinstance(model, GeneralizedRCNN):
        return model
    if test.AUG.ENABLED:
        return GeneralizedRCNNWithTTA(cfg, model)
    if test.TILES.SIZE:
        return TiledDetector(model, test.TILES.SIZE, test.TILES.OVERLAP, resize, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)
    if test.REGION_SCALES:
        if not isinstance(model.roi_heads, RegionHeads) or model.roi_heads.localiser:
            raise InputError(
                "TEST.REGION_SCALES: takes one of residet's RoI heads (MODEL.ROI_HEADS.NAME ArchRes5ROIHeads, "
                "PooledROIHeads or MultiPathROIHeads) without a localiser (MODEL.ROI_LOC_HEAD.MODE '')"
            )
        elongation = cfg.INPUT.MAX_SIZE_TEST / cfg.INPUT.MIN_SIZE_TEST
        return RegionScales(model, resize, test.REGION_SCALES, elongation)
    return model


@torch.no_grad()
def validation_losses(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, float]:
    """The mean losses of a model over a data set. Images, norm layers and dropout are as at test.

    The random numbers that sample regions and anchors follow from SEED and the image's id alone. The losses therefore
    do not depend on the number of processes, and the random numbers of the training run stay as they were.

    Args:
        cfg: config of the model.
        model: detectron2's meta architecture.
        dataset_name: name of a registered data set with annotations.

    Returns:
        {"total_loss": …, "loss_cls": …, …}.
    """
    was_training = model.training
    model.eval()
    # The model, the RPN and the RoI heads return losses if their own `training` is set. Their dropout and norm layers
    # stay in evaluation mode.
    for module in (model, getattr(model, "proposal_generator", None), getattr(model, "roi_heads", None)):
        if module is not None:
            module.training = True
    sums: dict[str, float] = {}
    images = 0
    with seeded((cfg.SEED,)), torch.random.fork_rng(), EventStorage():
        for batch in build_test_loader(cfg, dataset_name, with_instances=True):
            torch.manual_seed(cfg.SEED + zlib.crc32(str(batch[0]["image_id"]).encode()))
            images += len(batch)
            for name, loss in model(batch).items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(batch)
    model.train(was_training)
    gathered = comm.all_gather((images, sums))
    count = sum(n for n, _ in gathered)
    means = {name: float(np.sum([s.get(name, 0.0) for _, s in gathered])) / max(count, 1) for name in sums}
    return {"total_loss": sum(means.values()), **means}
