"""Evaluates several trained detectors as one: `detection.inference.ensemble` from checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from backbones.weights.hub import locate
from detection.build import build_detector, merge_model_config
from detection.config import default_config
from detection.data.resizing import ResizeShortestEdge
from detection.heads.region_heads import RegionHeads
from detection.inference.ensemble import DetectorEnsemble, Member
from detection.inference.modes import as_tested
from detection.inference.region_scales import RegionScales
from detection.inference.sight import OneScale
from detection.trainer import DetectionTrainer, report
from residet.config import merge_options
from residet.plan import RunPlan

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN

log = logging.getLogger("residet")

# Ways of testing that each member follows; the ensemble's config says them for all.
_WAYS = ("BOX_REFINEMENTS", "BOX_VOTING_IOU", "REGION_SCALES", "DETECTIONS_PER_IMAGE")


def resolve_ensemble(cfg: CfgNode, paths: Sequence[str], options: Sequence[str]) -> None:
    """Makes `cfg` the config of an ensemble, before `detection.prepare.prepare`.

    Takes MODEL and INPUT of the first file. The data and TEST stay those of `cfg`. Images come in their original size,
    since every member resizes them itself.

    Args:
        cfg: the config with the user's data and TEST.
        paths: checkpoints of `tools/train_net.py`.
        options: KEY, VALUE, … of the command line, which win over what a file says.

    Raises:
        InputError: the first file does not say how its detector is built, or TEST has a way that ensembles lack.
    """
    test, device = cfg.TEST, cfg.MODEL.DEVICE
    for key, value in (("AUG.ENABLED", test.AUG.ENABLED), ("TILES.SIZE", test.TILES.SIZE), ("LOSS", test.LOSS)):
        if value:
            raise InputError(f"TEST.{key}: {value} does not go with several --weights; leave the key out")
    own = default_config()
    merge_model_config(own, read_checkpoint(locate(paths[0]).path), paths[0])
    merge_options(own, list(options), "command line")
    cfg.MODEL, cfg.INPUT = own.MODEL, own.INPUT
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = paths[0], device
    cfg.PHASES = []
    cfg.INPUT.MIN_SIZE_TEST = 0  # detectron2's way to leave an image as it is


def evaluate_ensemble(
    plan: RunPlan, paths: Sequence[str], shares: Sequence[float], options: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Evaluates the ensemble of the detectors in `paths` on DATASETS.TEST.

    Args:
        plan: of a config that `resolve_ensemble` has made, prepared with `eval_only`.
        paths: checkpoints of `tools/train_net.py`.
        shares: part of each detector in the means.
        options: as of `resolve_ensemble`.

    Returns:
        the figures, as `detection.trainer.report` gives them.

    Raises:
        InputError: a file does not fit into the ensemble; the message names the file.
    """
    cfg = plan.cfg
    plan.release()
    members = [_member(cfg, path, share, options) for path, share in zip(paths, shares, strict=True)]
    regressed = [member.eye.model.roi_heads.box_predictor.bbox_pred.out_features for member in members]
    for path, outputs in zip(paths, regressed, strict=True):
        if outputs != regressed[0]:
            raise InputError(f"{path}: regresses {outputs // 4} boxes of a region, {paths[0]} {regressed[0] // 4}")
    model = DetectorEnsemble(members, cfg.INPUT.FORMAT)
    start = time.perf_counter()
    results = DetectionTrainer.test(cfg, model)
    return report(cfg, model, results, time.perf_counter() - start)


def _member(cfg: CfgNode, path: str, share: float, options: Sequence[str]) -> Member:
    """The detector in a file, which is tested as `cfg` says."""
    ways = [x for key in _WAYS for x in (f"TEST.{key}", cfg.TEST[key])]
    of_models = [
        x
        for pair in zip(options[::2], options[1::2], strict=True)
        if pair[0].startswith(("MODEL.", "INPUT."))
        for x in pair
    ]
    plainly = ["TEST.AUG.ENABLED", False, "TEST.TILES.SIZE", 0]
    model = build_detector(path, options=[*plainly, *ways, *of_models])
    if model.classes != tuple(cfg.DATASETS.CLASSES):
        raise InputError(
            f"{path}: detects {len(model.classes)} classes {list(model.classes)}, the ensemble "
            f"{len(cfg.DATASETS.CLASSES)} classes {list(cfg.DATASETS.CLASSES)}; take detectors of the same classes"
        )
    heads = getattr(model, "roi_heads", None)
    proposes = isinstance(model, GeneralizedRCNN) and not model.cfg.MODEL.LOAD_PROPOSALS
    if not proposes or not isinstance(heads, RegionHeads) or heads.localiser:
        raise InputError(
            f"{path}: does not fit into an ensemble, which takes a Faster R-CNN with an RPN of its own, one of "
            "residet's RoI heads and no localiser"
        )
    tested = as_tested(model.cfg, model)
    size = model.cfg.INPUT
    eye = OneScale(model, ResizeShortestEdge(size.MIN_SIZE_TEST, size.MAX_SIZE_TEST))
    log.info("member %s: %s, share %.3g", path, model.cfg.MODEL.BACKBONE.NAME, share)
    return Member(tested if isinstance(tested, RegionScales) else eye, size.FORMAT, share)
