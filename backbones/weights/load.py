"""Fills networks with parameters from files, and reports which parameters fit."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.interface import FeatureNetwork, NetworkSpec, Norm
from backbones.weights.read import Weights, check_arch, read_weights, variant_warning

import torch
from torch import Tensor, nn

log = logging.getLogger("residet")

# What stands before the names of a backbone's parameters in the file of a detector: of detectron2's with a feature
# pyramid, of torchvision's, and of detectron2's without a pyramid.
_IN_DETECTOR = ("backbone.bottom_up.", "backbone.body.", "backbone.")
_GROUPS = 32  # of group norm in detectron2's networks (detectron2.layers.get_norm), and in ours


@dataclass(frozen=True)
class LoadReport:
    """Which parameters and buffers of a module a file fills.

    Attributes:
        source: the file.
        loaded: names of the module's entries that the file fills.
        missing: names of the module's entries that the file lacks.
        unexpected: names in the file that the module lacks.
        mismatched: entries that have another shape in the file, as "name (shape in file) for (shape in module)".
        skipped: names of the module's entries that keep their values because the caller named them in `skip`.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether the file fills the module exactly: nothing is missing, unexpected or of another shape."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        entries = len(self.loaded) + len(self.missing) + len(self.mismatched) + len(self.skipped)
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        problems = "".join(
            f"; {len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for kind, keys in kinds.items()
            if keys
        )
        return f"{self.source}: {len(self.loaded)} of {entries} entries fit{problems}"


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], source: str, skip: Iterable[str] = (), *, partial: bool = False
) -> LoadReport:
    """Fills all parameters and buffers of `module` from `state`, or raises and changes nothing.

    Args:
        module: the module to fill.
        state: tensors by name. A name that `module` lacks is an error.
        source: the file of the tensors, for messages.
        skip: names of entries of `module` that keep their present values.
        partial: fill the entries that fit, and raise no error for the other entries.

    Raises:
        InputError: entries are missing, unexpected or of another shape. The message counts the entries and names the
            first.
    """
    skip = set(skip)
    entries = module.state_dict()
    # Inference does not use the counter `num_batches_tracked`, and older files and frozen norms lack the counter.
    required = {k: v for k, v in entries.items() if not k.endswith("num_batches_tracked")}
    in_file = {k: v for k, v in state.items() if k not in skip and not k.endswith("num_batches_tracked")}
    wanted = {k: v for k, v in required.items() if k not in skip}
    fits = {k: v for k, v in in_file.items() if k in wanted and v.shape == wanted[k].shape}
    report = LoadReport(
        source,
        loaded=tuple(fits),
        missing=tuple(k for k in wanted if k not in in_file),
        unexpected=tuple(k for k in in_file if k not in wanted),
        mismatched=tuple(
            f"{k} {tuple(in_file[k].shape)} for {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in in_file and k not in fits
        ),
        skipped=tuple(k for k in required if k in skip),
    )
    if not (report.full or partial):
        raise InputError(f"{report}. Nothing was loaded; check that the file holds weights of this arch")
    counters = {k: v for k, v in state.items() if k.endswith("num_batches_tracked") and k in entries}
    module.load_state_dict(fits | counters, strict=False)
    return report


def backbone_state(weights: Weights) -> dict[str, Tensor]:
    """The backbone's parameters in a classifier's or a detector's file.

    Returns:
        tensors by their names in a classifier, without the last layer. A VGG classifier's fc6 and fc7 are kept.
    """
    state = weights.state
    prefix = next((p for p in _IN_DETECTOR if any(k.startswith(p) for k in state)), "")
    names = {k: k.removeprefix(prefix) for k in state if k.startswith(prefix)}
    if prefix:  # layers of the network that the detector runs on regions
        for spec in CATALOGUE.values():
            for in_classifier, in_detector in spec.region_layers.items():
                names |= {k: in_classifier + k.removeprefix(in_detector) for k in state if k.startswith(in_detector)}
    last_layers = tuple({f"{spec.last_layer}." for spec in CATALOGUE.values()})
    return {name: state[k] for k, name in names.items() if not name.startswith(last_layers)}


def spec_of(weights: Weights, arch: str = "") -> NetworkSpec:
    """The network of a file: `arch`, else the network that the file names, else the network with the same parameters.

    Several networks can have parameters of the same names and shapes. BGR pixels then decide for the Caffe variant.
    RGB pixels, or torchvision's parameter names, decide for the network that torchvision and timm have.

    Args:
        weights: the content of the file.
        arch: name of the network; "" leaves the decision to the file.

    Raises:
        InputError: the file names another network than `arch`; or the file names no network, and no network or several
            different networks have the file's parameters.
    """
    if arch:
        check_arch(weights, arch)
        if warning := variant_warning(weights, arch):
            log.warning("%s", warning)
    if arch or weights.arch:
        return get_spec(arch or weights.arch)
    shapes = _shapes(backbone_state(weights))
    blocks = {re.match(r"layer\d\.\d+|", k)[0] for k in shapes} - {""}
    # Building all networks would take seconds, so networks with another number of blocks are left out first.
    rows = [spec for spec in CATALOGUE.values() if spec.num_blocks == len(blocks) and _parameter_shapes(spec) == shapes]
    if weights.channel_order == "BGR":
        rows = [spec for spec in rows if spec.stride_in_first] or rows
    elif weights.channel_order == "RGB" or weights.naming == "torchvision":
        rows = [spec for spec in rows if spec.timm] or rows
    if not rows:
        raise InputError(f"{weights.path}: names no network and fits none of the catalogue; name its arch")
    if len({spec.variant for spec in rows}) > 1:
        names = ", ".join(spec.name for spec in rows)
        raise InputError(f"{weights.path}: names no network and fits {names}; name its arch")
    return rows[0]


@functools.cache
def _parameter_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = spec.build(1)
    return _shapes(backbone_state(Weights(path="", state=network.state_dict())))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def load_backbone(
    path: str | Path,
    arch: str = "",
    *,
    norm: Norm | None = None,
    checkpoint_activations: bool = False,
    stages: int | None = None,
    partial: bool = False,
    report: Callable[[str], object] = print,
) -> FeatureNetwork:
    """A network without its classifier, filled from a file of a classifier or a detector.

    Args:
        path: a file of residet, torchvision, timm, detectron2 or Caffe2; or a name of published weights, such as
            "timm:resnet50.a1_in1k" (docs/weights.md).
        arch: name of the network. Needed only if `spec_of` cannot tell the network from the file.
        norm: makes the norm layer for a number of channels; None takes `norm_of` the file.
        checkpoint_activations: as of `ResidualNet`.
        stages: number of stages to build after the stem; None builds all.
        partial: no error if the file does not fill the whole network.
        report: is called with one line: how many entries fit, and which are missing, unexpected or of another shape.

    Returns:
        the network. Its attribute `pretrained_cfg` is the file's metadata as a dict: arch, mean, std, channel_order,
        input_size, classes.

    Raises:
        InputError: the file cannot be read or downloaded, the network of the file is unknown, or the file does not fill
            the network.
    """
    weights = read_weights(path, arch)
    spec = spec_of(weights, arch)
    norm = norm or norm_of(weights)
    network = spec.build(None, norm=norm, stages=stages, checkpoint_activations=checkpoint_activations)
    with torch.device("meta"):
        left_out = spec.build(None).state_dict().keys() - network.state_dict().keys()
    state = {k: v for k, v in feature_state(spec, weights).items() if k not in left_out}
    report(str(load_state(network, state, weights.path, partial=partial)))
    network.pretrained_cfg = weights.metadata | {"arch": spec.name}
    return network


def norm_of(weights: Weights) -> Norm:
    """What makes norm layers like those of a file: group norm where the file says so, batch norm for all others."""
    return functools.partial(nn.GroupNorm, _GROUPS) if weights.norm == "GN" else nn.BatchNorm2d


def feature_state(spec: NetworkSpec, weights: Weights) -> dict[str, Tensor]:
    """The file's parameters of the layers that make the feature maps, by their names in a classifier."""
    state = backbone_state(weights)
    return {k: v for k, v in state.items() if not k.startswith(spec.classifier_prefix)}


def fill_network(spec: NetworkSpec, path: str | Path, num_classes: int | None = None, **options) -> FeatureNetwork:
    """A classifier of `num_classes` outputs, filled from a file.

    Args:
        spec: the network.
        path: a file or a name that `read_weights` takes.
        num_classes: outputs of the classifier. None takes the file's number of outputs, 0 leaves the classifier out.
        options: further arguments of the network's class.

    Returns:
        the network. If the file has another number of outputs, the last layer stays as initialised. The attribute
        `pretrained_cfg` is the file's metadata as a dict.

    Raises:
        InputError: the file cannot be read, holds another network, or does not fill the network.
    """
    weights = read_weights(path, spec.name)
    spec_of(weights, spec.name)
    last = [f"{spec.last_layer}.weight", f"{spec.last_layer}.bias"]
    outputs = len(weights.state[last[1]]) if last[1] in weights.state else 0
    wanted = outputs if num_classes is None else num_classes
    network = spec.build(wanted or None, **{"norm": norm_of(weights), **options})
    if wanted:
        load_state(network, weights.state, weights.path, skip=last if wanted != outputs else ())
    else:
        load_state(network, feature_state(spec, weights), weights.path)
    network.pretrained_cfg = weights.metadata | {"arch": spec.name}
    return network
