"""Which maps a backbone and its feature pyramid give, and the keys that name others, or anchors for others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from backbones.registry import spec_of_builder

from detectron2.config import CfgNode


def strides_of_maps(cfg: CfgNode) -> dict[str, int]:
    """The maps that MODEL.BACKBONE.NAME gives with these keys, and their strides in pixels."""
    model, strides = cfg.MODEL, spec_of_builder(cfg.MODEL.BACKBONE.NAME).strides
    if "_fpn_" not in model.BACKBONE.NAME:
        return {name: strides[name] for name in model.RESNETS.OUT_FEATURES}
    levels = [round(math.log2(strides[name])) for name in model.FPN.IN_FEATURES]
    extra = 2 if model.BACKBONE.NAME.startswith("build_retinanet_") else 1
    return {f"p{level}": 2**level for level in [*levels, *range(levels[-1] + 1, levels[-1] + 1 + extra)]}


def of_maps(cfg: CfgNode) -> Iterator[str]:
    """A message for each key that names a map which the backbone or the pyramid does not give."""
    model, spec = cfg.MODEL, spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    of_backbone, pyramid = model.RESNETS.OUT_FEATURES, "_fpn_" in model.BACKBONE.NAME
    yield from _unknown("MODEL.RESNETS.OUT_FEATURES", of_backbone, list(spec.channels), "the backbone")
    if len(spec.channels) < model.BACKBONE.FREEZE_AT:
        yield f"MODEL.BACKBONE.FREEZE_AT: {model.BACKBONE.FREEZE_AT} is not in 0 to {len(spec.channels)}"
    if pyramid:
        chosen = model.FPN.IN_FEATURES
        if not chosen:
            yield "MODEL.FPN.IN_FEATURES: [] leaves the pyramid without maps; give maps such as [res3, res4, res5]"
        yield from _unknown("MODEL.FPN.IN_FEATURES", chosen, of_backbone, "MODEL.RESNETS.OUT_FEATURES")
        yield from _not_doubling("MODEL.FPN.IN_FEATURES", [spec.strides[name] for name in chosen], chosen)
        if model.BACKBONE.NAME.startswith("build_retinanet_") and "res5" not in of_backbone:
            yield "MODEL.RESNETS.OUT_FEATURES: res5 is missing, on which P6 and P7 of this pyramid stand; add res5"
    strides = strides_of_maps(cfg)
    for key, names in _read_maps(cfg).items():
        yield from _unknown(key, names, list(strides), model.BACKBONE.NAME)
    heads = model.ROI_HEADS
    if model.META_ARCHITECTURE != "GeneralizedRCNN":
        return
    if heads.NAME == "ArchRes5ROIHeads" and list(heads.IN_FEATURES) != ["res4"]:
        yield f"MODEL.ROI_HEADS.IN_FEATURES: {heads.IN_FEATURES} must be [res4] for stage 5 of ArchRes5ROIHeads"
    if heads.NAME in ("PooledROIHeads", "StandardROIHeads", "CascadeROIHeads"):
        chosen = [strides[name] for name in heads.IN_FEATURES]
        yield from _not_doubling("MODEL.ROI_HEADS.IN_FEATURES", chosen, heads.IN_FEATURES)
        if len(chosen) > 1 and not pyramid:
            yield f"MODEL.ROI_HEADS.IN_FEATURES: {heads.IN_FEATURES} differ in channels without a pyramid; give one map"


def of_anchors(cfg: CfgNode) -> Iterator[str]:
    """A message for each key whose anchors or labels do not fit the maps that the RPN or RetinaNet reads."""
    model = cfg.MODEL
    retinanet = model.META_ARCHITECTURE == "RetinaNet"
    if not retinanet and model.PROPOSAL_GENERATOR.NAME != "RPN":
        return
    head, anchors = (model.RETINANET if retinanet else model.RPN), model.ANCHOR_GENERATOR
    group = "RETINANET" if retinanet else "RPN"
    if len(head.IOU_LABELS) != len(head.IOU_THRESHOLDS) + 1:
        yield f"MODEL.{group}.IOU_LABELS: {head.IOU_LABELS} must be one more than IOU_THRESHOLDS"
    for key in ("SIZES", "ASPECT_RATIOS"):
        lists, maps = anchors[key], len(head.IN_FEATURES)
        if len(lists) not in (1, maps):
            yield (
                f"MODEL.ANCHOR_GENERATOR.{key}: {len(lists)} lists for the {maps} maps of MODEL.{group}.IN_FEATURES; "
                "give one list, or one for each map"
            )
        if len({len(values) for values in lists}) > 1:
            yield f"MODEL.ANCHOR_GENERATOR.{key}: {lists} must be as many values for each map"
    channels = spec_of_builder(model.BACKBONE.NAME).channels
    if "_fpn_" not in model.BACKBONE.NAME and len({channels[name] for name in head.IN_FEATURES}) > 1:
        yield f"MODEL.{group}.IN_FEATURES: {head.IN_FEATURES} differ in channels without a pyramid; give one map"


def _read_maps(cfg: CfgNode) -> dict[str, Sequence[str]]:
    """The keys that name maps and that a detector of this architecture reads."""
    model, keys = cfg.MODEL, {}
    if model.META_ARCHITECTURE == "RetinaNet":
        return {"MODEL.RETINANET.IN_FEATURES": model.RETINANET.IN_FEATURES}
    if model.PROPOSAL_GENERATOR.NAME == "RPN":
        keys["MODEL.RPN.IN_FEATURES"] = model.RPN.IN_FEATURES
    if model.META_ARCHITECTURE == "GeneralizedRCNN":
        keys["MODEL.ROI_HEADS.IN_FEATURES"] = model.ROI_HEADS.IN_FEATURES
    return keys


def _unknown(key: str, names: Sequence[str], known: Sequence[str], source: str) -> Iterator[str]:
    if not set(names) <= set(known):
        yield f"{key}: {list(names)} must be names of {list(known)}, the maps of {source}"
    if len(set(names)) < len(names):
        yield f"{key}: {list(names)} names a map twice; name it once"


def _not_doubling(key: str, strides: list[int], names: Sequence[str]) -> Iterator[str]:
    if any(stride != 2 * before for before, stride in itertools.pairwise(strides)):
        yield f"{key}: {list(names)} must be maps in order, each of twice the stride of the one before; leave none out"
