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
from detection.heads.region_heads import RegionHeads
from detection.inference.region_scales import RegionScales
from detection.inference.tiles import TiledDetector
from residet.loaders import seeded

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import GeneralizedRCNN, GeneralizedRCNNWithTTA
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn


def check_testing(cfg: CfgNode) -> None:
    """Raises InputError if TEST asks for more than one way of testing, or a value of TEST cannot be used."""
    test = cfg.TEST
    ways = {"TEST.AUG.ENABLED": test.AUG.ENABLED, "TEST.TILES.SIZE": test.TILES.SIZE}
    ways["TEST.REGION_SCALES"] = test.REGION_SCALES
    if len(chosen := [key for key, value in ways.items() if value]) > 1:
        raise InputError(f"{' and '.join(chosen)}: are set together; set only one of them")
    if cfg.MODEL.ROI_LOC_HEAD.MODE and test.BOX_REFINEMENTS:
        raise InputError(
            f"TEST.BOX_REFINEMENTS: {test.BOX_REFINEMENTS} is for box regression, but MODEL.ROI_LOC_HEAD.MODE is set; "
            "give TEST.BOX_REFINEMENTS 0 and use MODEL.ROI_LOC_HEAD.ROUNDS"
        )
    if test.TILES.SIZE < 0 or not 0 <= test.TILES.OVERLAP < 1:
        raise InputError(
            f"TEST.TILES: SIZE {test.TILES.SIZE} and OVERLAP {test.TILES.OVERLAP} make no tiles; give a SIZE of 0 or "
            "more and an OVERLAP from 0 to below 1"
        )
    if len(test.REGION_SCALES) == 1 or any(side < 1 for side in test.REGION_SCALES):
        raise InputError(
            f"TEST.REGION_SCALES: {test.REGION_SCALES} are not two short sides or more, each of 1 pixel or more; "
            "give () for one scale"
        )
    if chosen and (cfg.MODEL.LOAD_PROPOSALS or cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN"):
        raise InputError(
            f"{chosen[0]}: is for a GeneralizedRCNN with an RPN of its own; here MODEL.META_ARCHITECTURE is "
            f"{cfg.MODEL.META_ARCHITECTURE} and MODEL.LOAD_PROPOSALS is {cfg.MODEL.LOAD_PROPOSALS}"
        )


def resolve_plain_testing(cfg: CfgNode) -> None:
    """Sets the keys of TEST so that the detector looks at each image once: no copies, no tiles, no pyramid."""
    cfg.TEST.AUG.ENABLED = False
    cfg.TEST.TILES.SIZE = 0
    cfg.TEST.REGION_SCALES = ()


def metric_groups(cfg: CfgNode) -> list[str]:
    """The groups of results that a test gives: "bbox" is the group of "bbox/AP"."""
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        groups = ["box_proposals"]
    else:
        group_of = {"coco": "bbox", "voc": "voc", "errors": "errors"}
        groups = [group_of[evaluator] for evaluator in cfg.TEST.EVALUATORS]
    return groups + ["validation"] * cfg.TEST.LOSS


def check_metric(cfg: CfgNode) -> None:
    """Raises InputError if TEST.BEST_METRIC is in none of the groups of results.

    Without this check, a wrong metric would be noticed only after the training.
    """
    metric, tests = cfg.TEST.BEST_METRIC, cfg.DATASETS.TEST
    averages = ("", "_ema") if cfg.SOLVER.EMA.DECAY else ("",)
    if len(tests) > 1:
        starts = [f"{name}{average}/{group}/" for name in tests for group in metric_groups(cfg) for average in averages]
    else:
        starts = [f"{group}{average}/" for group in metric_groups(cfg) for average in averages]
    example = "box_proposals/AR@1000" if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork" else "bbox/AP"
    if metric and not metric.startswith(tuple(starts)):
        raise InputError(
            f"TEST.BEST_METRIC: {metric} is none of {', '.join(f'{start}…' for start in starts)}; write GROUP/NAME, "
            f"such as {example}. TEST.EVALUATORS, TEST.LOSS and SOLVER.EMA.DECAY decide which groups there are"
        )


def as_tested(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model that is to be called on test images: `model` itself, or `model` wrapped in the way that TEST asks for.

    Raises:
        InputError: TEST.REGION_SCALES is set and the model's RoI heads do not support it.
    """
    test = cfg.TEST
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
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
