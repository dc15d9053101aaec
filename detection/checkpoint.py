"""Fills a detector with the weights of a pretrained classifier or of another detector."""

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

# What the names of the parameters of RPN and RoI heads begin with. A file or a model may lack one of the two parts: an
# RPN alone has no RoI heads, and a Fast R-CNN, which takes its proposals from a file, has no RPN.
_PARTS = ("proposal_generator.", "roi_heads.")


def load_detector(cfg: CfgNode, model: nn.Module, weights: Weights, *, for_training: bool) -> None:
    """Fills a detector from a classifier's or a detector's weights; raises if any of the weights do not fit.

    A classifier's weights fill the backbone and the layers of the RoI heads that classifiers have: stage 5 of a C4
    head, or the fully connected layers of VGG. A detector's weights fill the whole model. An RPN or RoI heads that the
    model lacks are left out. If the model is to be trained, there are two exceptions:

    - An RPN or RoI heads that the file lacks keep their initial values.
    - If the file's classes are not the data's, the layers that depend on the classes are filled for the classes that
      have the same name, and keep their initial values for the others.

    Args:
        cfg: the config that the model was built from.
        model: detectron2's meta architecture.
        weights: the weights to fill the model with.
        for_training: whether the model is to be trained. If not, the model is to be evaluated.

    Raises:
        InputError: the weights do not fit; or the model is to be evaluated and the weights are not those of a trained
            detector of the data's classes.
    """
    spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    check_arch(weights, spec.name)
    if weights.is_detector:
        state, skip = _same_parts(model, weights.state)
        if skip and not for_training:
            raise InputError(
                f"{weights.path}: has no {_parts_of(skip)}, which the config's detector has; use the config that the "
                "file was trained with, or another file"
            )
        state = transfer_classes(cfg, model, replace(weights, state=state), for_training)
    elif for_training:
        state, skip = _classifier_state(spec, model, weights)
    else:
        raise InputError(f"{weights.path}: holds a classifier, not a detector to evaluate; train a detector first")
    log.info("loaded %s", load_state(model, state, weights.path, skip))
    if weights.is_detector and skip:
        log.info("%s has no %s: the detector keeps its initial values there", weights.path, _parts_of(skip))


def _parts_of(names: list[str]) -> str:
    """The parts of the detector that parameters belong to, for messages: "proposal_generator and no roi_heads"."""
    return " and no ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def _classifier_state(spec: NetworkSpec, model: nn.Module, weights: Weights) -> tuple[dict, list[str]]:
    """A classifier's parameters by the names that they have in a detector.

    The layer of the classes is left out, and so are layers that the detector does not have.

    Args:
        spec: the classifier's network.
        model: the detector.
        weights: the classifier's weights.

    Returns:
        tensors by the detector's names; and the names of the detector's parameters that a classifier does not contain.
    """
    places, state = _places(spec, model), {}
    for key, value in weights.state.items():
        prefix = max((p for p in places if key.startswith(p)), key=len)
        if places[prefix]:
            state[places[prefix] + key.removeprefix(prefix)] = value
    filled = set(pretrained_layers(spec, model))
    return state, [k for k in model.state_dict() if k not in filled]


def _places(spec: NetworkSpec, model: nn.Module) -> dict[str, str]:
    """Where a classifier's parameters go in a detector.

    Returns:
        what the classifier's name of a parameter begins with -> what replaces this beginning in the detector's name; ""
        for parameters that the detector does not have.
    """
    model_keys = list(model.state_dict())
    backbone = "backbone.bottom_up." if hasattr(model.backbone, "bottom_up") else "backbone."
    places = {"": backbone, spec.classifier_prefix: "", f"{spec.last_layer}.": ""}
    for prefix, in_detector in spec.region_layers.items():
        if not any(k.startswith(backbone + prefix) for k in model_keys):
            places[prefix] = in_detector if any(k.startswith(in_detector) for k in model_keys) else ""
    return places


def pretrained_layers(spec: NetworkSpec, model: nn.Module) -> list[str]:
    """Names of the detector's parameters and buffers that a pretrained classifier contains.

    These are the backbone without its pyramid, and the layers of the RoI heads that classifiers have.

    Args:
        spec: the network.
        model: the detector.
    """
    filled = tuple(place for place in _places(spec, model).values() if place)
    return [k for k in model.state_dict() if k.startswith(filled)]


def _same_parts(model: nn.Module, state: dict) -> tuple[dict, list[str]]:
    """Compares which of RPN and RoI heads a model and a file have.

    Returns:
        the file's state without a part that the model lacks; and the names of the model's parameters in a part that the
        file lacks.
    """
    model_keys, skip = list(model.state_dict()), []
    for part in _PARTS:
        if not any(k.startswith(part) for k in model_keys):
            state = {k: v for k, v in state.items() if not k.startswith(part)}
        elif not any(k.startswith(part) for k in state):
            skip += [k for k in model_keys if k.startswith(part)]
    return state, skip


def transfer_classes(cfg: CfgNode, model: nn.Module, weights: Weights, for_training: bool) -> dict:
    """Fits a detector's parameters to the data's classes.

    The layers that depend on the classes have rows for each class. Classes that detector and data share, by name
    regardless of case, keep the detector's rows; other classes get the model's initial rows.

    Args:
        cfg: config whose DATASETS.CLASSES are the data's classes.
        model: the detector to fill, with its initial values.
        weights: the trained detector's weights. If the file does not name its classes, its classes count as the data's
            where all shapes fit.
        for_training: whether the model is to be trained. If not, the model is to be evaluated.

    Returns:
        tensors by name, for all of the file's parameters.

    Raises:
        InputError: the weights are of other classes than the data's, and the model is to be evaluated.
    """
    new, old = tuple(cfg.DATASETS.CLASSES), weights.classes
    initial = model.state_dict()
    layers = [k for k in initial if _row_order(k) and k in weights.state]
    if not layers:  # an RPN
        return weights.state
    if old is None:
        old = new if all(weights.state[k].shape == initial[k].shape for k in layers) else ()
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
        state[key] = _copy_rows(initial[key].clone(), state[key], new, old, _row_order(key))
    log.warning(
        "%s: was trained for %s, the data has %d classes %s: box predictor re-initialised%s",
        weights.path,
        old_classes,
        len(new),
        list(new),
        f", except for the classes {', '.join(kept)}" if kept else "",
    )
    return state


def _row_order(key: str) -> str:
    """The order of a parameter's rows, in detectron2's and residet's Faster R-CNN and in RetinaNet.

    Returns:
        "background last": a row for each class, then a row for the background
        "boxes": four rows for each class, or four rows for all classes together
        "by class": some rows for each class
        "by anchor": for each anchor, a row for each class
        "": the rows do not depend on the classes
    """
    name = key.rsplit(".", 1)[0]
    if ".box_predictor." in key:
        return "background last" if ".cls_score" in name else "boxes"
    if ".localiser.predict" in key:
        return "by class"
    return "by anchor" if name.endswith("head.cls_score") else ""


def _copy_rows(initial: Tensor, trained: Tensor, new: Sequence[str], old: Sequence[str], order: str) -> Tensor:
    """A parameter with the trained rows of the classes in both lists and of the background, and else initial rows.

    Args:
        initial: the parameter of the detector to fill, which may be overwritten.
        trained: the parameter of the trained detector.
        new: names of the classes of the detector to fill.
        old: names of the classes of the trained detector; empty if they are not known.
        order: the order of the rows, see `_row_order`.
    """
    agnostic = [order == "boxes" and len(x) == 4 for x in (initial, trained)]  # one box for all classes
    if all(agnostic) or initial.shape[1:] != trained.shape[1:]:  # of other features: `load_state` will raise
        return trained
    last = -1 if order == "background last" else None
    extra = 1 if last else 0
    if not old or any(agnostic) or (len(trained) - extra) * len(new) != (len(initial) - extra) * len(old):
        return initial  # the number of rows for each class differs
    anchors = len(initial) // len(new) if order == "by anchor" else 1
    initial_rows = initial[:last].unflatten(0, (anchors, len(new), -1))
    trained_rows = trained[:last].unflatten(0, (anchors, len(old), -1))
    old_index = {name.casefold(): i for i, name in enumerate(old)}
    for i, name in enumerate(new):
        if name.casefold() in old_index:
            initial_rows[:, i] = trained_rows[:, old_index[name.casefold()]]
    if last:
        initial[last] = trained[last]
    return initial
