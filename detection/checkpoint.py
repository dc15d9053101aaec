"""Fills a detector with weights: a pretrained classifier's go into backbone and C4 head, a detector's everywhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from backbones.errors import InputError
from backbones.interface import NetworkSpec
from backbones.registry import spec_of_builder
from backbones.weights.load import load_state
from backbones.weights.read import Weights, check_arch

from detectron2.config import CfgNode
from torch import Tensor, nn

log = logging.getLogger("residet")

# The parts of a detector that a file may lack, or have beyond the model: an RPN alone, a Fast R-CNN on its proposals.
_PARTS = ("proposal_generator.", "roi_heads.")


def load_detector(cfg: CfgNode, model: nn.Module, weights: Weights, *, for_training: bool) -> None:
    """Fills a detector from a classifier's or a detector's weights, strictly.

    A classifier fills the backbone, and its last stage fills a C4 head. A detector fills everything. Where its classes
    are not the data's and the model is to be trained, the layers that depend on the classes keep the rows of classes of
    the same name; their other rows stay as initialised, as do an RPN or RoI heads that the file lacks.

    Args:
        cfg: the config that the model was built from.
        model: detectron2's meta architecture.
        weights: what to fill the model with.
        for_training: the model is to be trained; else evaluated.

    Raises:
        InputError: the weights do not fit; or the model is to be evaluated and the weights hold no trained detector of
            the data's classes.
    """
    spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    check_arch(weights, spec.name)
    if weights.is_detector:
        state, skip = _same_parts(model, weights.state)
        if skip and not for_training:
            raise InputError(f"{weights.path}: has no {_parts_of(skip)}; evaluate it as what it was trained as")
        state = transfer_classes(cfg, model, replace(weights, state=state), for_training)
    elif for_training:
        state, skip = _classifier_state(spec, model, weights)
    else:
        raise InputError(f"{weights.path}: holds a classifier, not a detector to evaluate; train one first")
    log.info("loaded %s", load_state(model, state, weights.path, skip))
    if weights.is_detector and skip:
        log.info("%s has no %s: left as initialised", weights.path, _parts_of(skip))


def _parts_of(names: list[str]) -> str:
    return " and no ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def _classifier_state(spec: NetworkSpec, model: nn.Module, weights: Weights) -> tuple[dict, list[str]]:
    """A classifier's parameters by the names that they have in a detector.

    The layer of the classes is left out, as are layers that the detector does not have.

    Returns:
        tensors by the detector's names; and the names of the detector's parameters that a classifier does not contain.
    """
    ours = list(model.state_dict())
    backbone = "backbone.bottom_up." if hasattr(model.backbone, "bottom_up") else "backbone."
    # What a name begins with -> what replaces it; "" drops the parameter.
    places = {"": backbone, spec.classifier_prefix: "", f"{spec.last_layer}.": ""}
    for prefix, in_detector in spec.region_layers.items():
        if not any(k.startswith(backbone + prefix) for k in ours):
            places[prefix] = in_detector if any(k.startswith(in_detector) for k in ours) else ""
    state = {}
    for key, value in weights.state.items():
        prefix = max((p for p in places if key.startswith(p)), key=len)
        if places[prefix]:
            state[places[prefix] + key.removeprefix(prefix)] = value
    filled = tuple(place for place in places.values() if place)
    return state, [k for k in ours if not k.startswith(filled)]


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
    old_classes = f"{len(old)} classes {list(old)}" if old else "other classes"
    if not for_training:
        raise InputError(
            f"{weights.path}: was trained for {old_classes}, the data has {len(new)} classes {list(new)}; evaluate on "
            "matching data"
        )
    kept = [name for name in new if name.casefold() in {c.casefold() for c in old}]
    state = dict(weights.state)
    for key in layers:
        state[key] = _copy_rows(ours[key].clone(), state[key], new, old, _rows(key))
    log.warning(
        "%s: was trained for %s, the data has %d classes %s: box predictor re-initialised%s",
        weights.path,
        old_classes,
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
