"""Weights -> detector: a pretrained classifier's into backbone and C4 head, or another detector's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from backbones.errors import InputError
from backbones.registry import VGGBackbone, spec_of_builder
from backbones.weights.load import load_state
from backbones.weights.read import Weights, check_arch, read_weights
from detection.heads.roi_heads import VGGBoxHead

from detectron2.config import CfgNode
from torch import Tensor, nn

log = logging.getLogger("residet")

# The parts of a detector that a file may lack, or have beyond the model: an RPN alone, a Fast R-CNN on its proposals.
_PARTS = ("proposal_generator.", "roi_heads.")


def load_detector(cfg: CfgNode, model: nn.Module, *, for_training: bool) -> None:
    """Fills `model` from cfg.MODEL.WEIGHTS, strictly.

    A classifier fills the backbone, and its last stage a C4 head. A detector fills everything; where its classes are
    not the data's and the model is to be trained, the layers that depend on them keep what they know of classes of the
    same name and are else as initialised, as are an RPN or RoI heads that the file lacks.

    Raises:
        InputError: the weights do not fit, or evaluation is wanted of weights that hold no trained detector of the
            data's classes.
    """
    weights = read_weights(cfg.MODEL.WEIGHTS)
    check_arch(weights, spec_of_builder(cfg.MODEL.BACKBONE.NAME).name)
    if is_detector(weights):
        state, skip = _same_parts(model, weights.state)
        if skip and not for_training:
            raise InputError(f"{weights.path}: has no {_parts_of(skip)}; evaluate it as what it was trained as")
        state = transfer_classes(cfg, model, replace(weights, state=state), for_training)
    elif for_training:
        state, skip = _classifier_state(model, weights)
    else:
        raise InputError(f"{weights.path}: holds a classifier, not a detector to evaluate; train one first")
    log.info("loaded %s", load_state(model, state, weights.path, skip))
    if is_detector(weights) and skip:
        log.info("%s has no %s: left as initialised", weights.path, _parts_of(skip))


def _parts_of(names: list[str]) -> str:
    return " and no ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def is_detector(weights: Weights) -> bool:
    return weights.task == "detection" or any(k.startswith("backbone.") for k in weights.state)


def _classifier_state(model: nn.Module, weights: Weights) -> tuple[dict, list[str]]:
    """The network's parameters under the detector's names, and the detector's names for which a classifier has none.

    The layer of the classes is left out, and stage 5 or fully connected layers where the detector has none.
    """
    backbone = getattr(model.backbone, "bottom_up", model.backbone)
    heads = getattr(model, "roi_heads", None)  # an RPN alone has none
    prefixes = {"": "backbone." if backbone is model.backbone else "backbone.bottom_up."}
    if isinstance(backbone, VGGBackbone):
        head = getattr(heads, "box_head", None)
        prefixes["classifier."] = "roi_heads.box_head.classifier." if isinstance(head, VGGBoxHead) else None
        prefixes["classifier.6."] = None
    else:
        prefixes["fc."] = None
        if "res5" not in backbone.stage_names:
            prefixes["layer4."] = "roi_heads.res5." if hasattr(heads, "res5") else None
    state = {}
    for key, value in weights.state.items():
        ours = max((p for p in prefixes if key.startswith(p)), key=len)
        if prefixes[ours] is not None:
            state[prefixes[ours] + key.removeprefix(ours)] = value
    filled = tuple(p for p in prefixes.values() if p)
    return state, [k for k in model.state_dict() if not k.startswith(filled)]


def _same_parts(model: nn.Module, state: dict) -> tuple[dict, list[str]]:
    """The state without parts that the model has not, and the model's names of parts that the state has not."""
    ours, skip = model.state_dict(), []
    for part in _PARTS:
        if not any(k.startswith(part) for k in ours):
            state = {k: v for k, v in state.items() if not k.startswith(part)}
        elif not any(k.startswith(part) for k in state):
            skip += [k for k in ours if k.startswith(part)]
    return state, skip


def transfer_classes(cfg: CfgNode, model: nn.Module, weights: Weights, for_training: bool) -> dict:
    """The state of a detector for the data's classes: rows of classes with the same name, as initialised for others.

    Raises:
        InputError: its classes are not the data's, and it is to be evaluated.
    """
    new, old = tuple(cfg.DATASETS.CLASSES), weights.classes
    ours = model.state_dict()
    layers = [k for k in ours if _rows(k) and k in weights.state]
    if not layers:  # an RPN
        return weights.state
    if old is None:  # only the shapes can tell
        old = new if all(weights.state[k].shape == ours[k].shape for k in layers) else ()
    if old == new:
        return weights.state
    known = f"{len(old)} classes {list(old)}" if old else "other classes"
    if not for_training:
        raise InputError(
            f"{weights.path}: was trained for {known}, the data has {len(new)} classes {list(new)}; evaluate on "
            "matching data"
        )
    kept = [name for name in new if name.casefold() in {c.casefold() for c in old}]
    state = dict(weights.state)
    for key in layers:
        state[key] = _copy_rows(ours[key].clone(), state[key], new, old, _rows(key))
    log.warning(
        "%s: was trained for %s, the data has %d classes %s: box predictor re-initialised%s",
        weights.path,
        known,
        len(new),
        list(new),
        f" but for {', '.join(kept)}" if kept else "",
    )
    return state


def _rows(key: str) -> str:
    """How the rows of a layer go by class, of detectron2's Faster R-CNN, ours, and RetinaNet; "" where they do not."""
    name = key.rsplit(".", 1)[0]
    if ".box_predictor." in key:
        return "background last" if ".cls_score" in name else "boxes"
    if ".localiser.predict" in key:
        return "by class"
    return "by anchor" if name.endswith("head.cls_score") else ""


def _copy_rows(ours: Tensor, theirs: Tensor, new: Sequence[str], old: Sequence[str], rows: str) -> Tensor:
    """Our rows, with theirs in the place of those of classes that both have, and of the background."""
    agnostic = [rows == "boxes" and len(x) == 4 for x in (ours, theirs)]  # one box for all classes
    if all(agnostic) or ours.shape[1:] != theirs.shape[1:]:  # of other features: loading will say so
        return theirs
    last = -1 if rows == "background last" else None
    extra = 1 if last else 0
    if not old or any(agnostic) or (len(theirs) - extra) * len(new) != (len(ours) - extra) * len(old):
        return ours  # of another number of rows for each class
    anchors = len(ours) // len(new) if rows == "by anchor" else 1
    ours_by = ours[:last].unflatten(0, (anchors, len(new), -1))
    theirs_by = theirs[:last].unflatten(0, (anchors, len(old), -1))
    of_name = {name.casefold(): i for i, name in enumerate(old)}
    for i, name in enumerate(new):
        if name.casefold() in of_name:
            ours_by[:, i] = theirs_by[:, of_name[name.casefold()]]
    if last:
        ours[last] = theirs[last]
    return ours
