"""Weights -> detector: a pretrained classifier's into backbone and C4 head, or another detector's."""

from __future__ import annotations

import logging

from backbones.errors import InputError
from backbones.loading import load_state
from backbones.registry import VGGBackbone, spec_of_builder
from backbones.weights import Weights, check_arch, read_weights
from detection.roi_heads import VGGBoxHead

from detectron2.config import CfgNode
from torch import nn

log = logging.getLogger("residet")

# What depends on the number of classes in detectron2's Faster R-CNN and RetinaNet.
_CLASS_LAYERS = ("box_predictor.", "head.cls_score.")


def load_detector(cfg: CfgNode, model: nn.Module, *, for_training: bool) -> None:
    """Fills `model` from cfg.MODEL.WEIGHTS, strictly.

    A classifier fills the backbone, and its last stage a C4 head. A detector fills everything; where its classes are
    not the data's and the model is to be trained, the layers that depend on them stay as initialised.

    Raises:
        InputError: the weights do not fit, or evaluation is wanted of weights that hold no trained detector of the
            data's classes.
    """
    weights = read_weights(cfg.MODEL.WEIGHTS)
    check_arch(weights, spec_of_builder(cfg.MODEL.BACKBONE.NAME).name)
    if is_detector(weights):
        state, skip = weights.state, _new_classes(cfg, model, weights, for_training)
    elif for_training:
        state, skip = _classifier_state(model, weights)
    else:
        raise InputError(f"{weights.path}: holds a classifier, not a detector to evaluate; train one first")
    log.info("loaded %s", load_state(model, state, weights.path, skip))


def is_detector(weights: Weights) -> bool:
    return weights.task == "detection" or any(k.startswith("backbone.") for k in weights.state)


def _classifier_state(model: nn.Module, weights: Weights) -> tuple[dict, list[str]]:
    """The network's parameters under the detector's names, and the detector's names for which a classifier has none.

    The layer of the classes is left out, and stage 5 or fully connected layers where the detector has none.
    """
    backbone = getattr(model.backbone, "bottom_up", model.backbone)
    prefixes = {"": "backbone." if backbone is model.backbone else "backbone.bottom_up."}
    if isinstance(backbone, VGGBackbone):
        head = getattr(model.roi_heads, "box_head", None)
        prefixes["classifier."] = "roi_heads.box_head.classifier." if isinstance(head, VGGBoxHead) else None
        prefixes["classifier.6."] = None
    else:
        prefixes["fc."] = None
        if "res5" not in backbone.stage_names:
            prefixes["layer4."] = "roi_heads.res5." if hasattr(model.roi_heads, "res5") else None
    state = {}
    for key, value in weights.state.items():
        ours = max((p for p in prefixes if key.startswith(p)), key=len)
        if prefixes[ours] is not None:
            state[prefixes[ours] + key.removeprefix(ours)] = value
    filled = tuple(p for p in prefixes.values() if p)
    return state, [k for k in model.state_dict() if not k.startswith(filled)]


def _new_classes(cfg: CfgNode, model: nn.Module, weights: Weights, for_training: bool) -> list[str]:
    """Names of the layers to leave as initialised, since the weights know other classes."""
    layers = [k for k in model.state_dict() if any(layer in k for layer in _CLASS_LAYERS)]
    same = weights.classes == tuple(cfg.DATASETS.CLASSES)
    if weights.classes is None:
        same = all(k in weights.state and weights.state[k].shape == model.state_dict()[k].shape for k in layers)
    if same:
        return []
    known = f"{len(weights.classes)} classes {list(weights.classes)}" if weights.classes else "other classes"
    data = f"{len(cfg.DATASETS.CLASSES)} classes {list(cfg.DATASETS.CLASSES)}"
    if not for_training:
        raise InputError(f"{weights.path}: was trained for {known}, the data has {data}; evaluate on matching data")
    log.warning("%s: was trained for %s, the data has %s: box predictor re-initialised", weights.path, known, data)
    return layers
