"""Parameters -> networks, strictly, with a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backbones.blocks import Norm
from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.networks import build_network
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec
from backbones.weights.read import Weights, check_arch, read_weights

import torch
from torch import Tensor, nn

_OF_A_BACKBONE = ("conv1.", "bn1.", "layer", "features.", "classifier.")


@dataclass(frozen=True)
class Coverage:
    """What of a module's parameters and buffers a file fills.

    Attributes:
        source: the file.
        loaded, missing: names of the module's entries that it fills and that it lacks.
        unexpected: names in the file that the module lacks.
        mismatched: entries of another shape in the file.
        skipped: the module's entries that were not wanted.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        entries = len(self.loaded) + len(self.missing) + len(self.mismatched) + len(self.skipped)
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        found = "".join(
            f"; {len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for kind, keys in kinds.items()
            if keys
        )
        return f"{self.source}: {len(self.loaded)} of {entries} entries fit{found}"


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], source: str, skip: Iterable[str] = (), *, partial: bool = False
) -> Coverage:
    """Fills the parameters and buffers of `module` from `state`: all of them, or raises and fills none.

    Args:
        module: what to fill.
        state: tensors by name; of those, the ones that `module` lacks are refused.
        source: where they come from, for messages.
        skip: names of `module` that keep their present values.
        partial: fill what fits and leave the rest.

    Raises:
        InputError: keys are missing, unexpected or of another shape; the message counts them and names the first.
    """
    skip = set(skip)
    # A counter that inference does not use and that older files and frozen norms lack.
    all_own = module.state_dict()
    own = {k: v for k, v in all_own.items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if k not in skip and not k.endswith("num_batches_tracked")}
    wanted = {k: v for k, v in own.items() if k not in skip}
    fits = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    coverage = Coverage(
        source,
        loaded=tuple(fits),
        missing=tuple(k for k in wanted if k not in given),
        unexpected=tuple(k for k in given if k not in wanted),
        mismatched=tuple(
            f"{k} {tuple(given[k].shape)} for {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in given and k not in fits
        ),
        skipped=tuple(k for k in own if k in skip),
    )
    if not (coverage.full or partial):
        raise InputError(f"{coverage}. Nothing was loaded; check that arch and file belong together")
    counters = {k: v for k, v in state.items() if k.endswith("num_batches_tracked") and k in all_own}
    module.load_state_dict(fits | counters, strict=False)
    return coverage


def backbone_state(weights: Weights) -> dict[str, Tensor]:
    """The backbone's parameters in a classifier or a detector, by a classifier's names and without its classes."""
    prefixes = ("backbone.bottom_up.", "backbone.body.", "backbone.", "roi_heads.")  # "body" is torchvision's
    detector = any(k.startswith("backbone.") for k in weights.state)
    state = {}
    for key, value in weights.state.items():
        prefix = next((p for p in prefixes if key.startswith(p)), "")
        name = key.removeprefix(prefix).replace("res5.", "layer4.", 1) if detector else key
        if not name.startswith(("fc.", "classifier.6.")) and (not detector or name.startswith(_OF_A_BACKBONE)):
            state[name] = value
    return state


def spec_of(weights: Weights, arch: str = "") -> ArchSpec | VGGSpec:
    """The network of a file: `arch`, else the one that the file names, else the one that has such parameters.

    Where several networks have the same parameters, a file of BGR pixels is taken for the Caffe variant, one with
    torchvision's names or of RGB pixels for the one that torchvision and timm have.

    Raises:
        InputError: the file names another than `arch`; or it names none, and none or several have such parameters.
    """
    if arch:
        check_arch(weights, arch)
    if arch or weights.arch:
        return get_spec(arch or weights.arch)
    shapes = _shapes(backbone_state(weights))
    blocks = {re.match(r"layer\d\.\d+|", k)[0] for k in shapes} - {""}
    rows = [
        spec for spec in CATALOGUE.values() if _blocks(spec) == len(blocks) and _shapes(_parameters(spec)) == shapes
    ]
    if weights.channel_order == "BGR":
        rows = [spec for spec in rows if getattr(spec, "stride_in_first", False)] or rows
    elif weights.channel_order == "RGB" or weights.naming == "torchvision":
        rows = [spec for spec in rows if spec.timm] or rows
    if not rows:
        raise InputError(f"{weights.path}: names no network and fits none of the catalogue; name its arch")
    if len({_computation(spec) for spec in rows}) > 1:
        names = ", ".join(spec.name for spec in rows)
        raise InputError(f"{weights.path}: names no network and fits {names}; name its arch")
    return rows[0]


def _blocks(spec: ArchSpec | VGGSpec) -> int:
    return sum(spec.depths) if isinstance(spec, ArchSpec) else 0


def _computation(spec: ArchSpec | VGGSpec) -> tuple:
    """What tells networks apart that have the same parameters."""
    return (spec.shortcut, spec.stride_in_first) if isinstance(spec, ArchSpec) else ()


def _parameters(spec: ArchSpec | VGGSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = build_network(spec, 1)
    return backbone_state(Weights(path="", state=network.state_dict()))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def load_backbone(
    path: str | Path,
    arch: str = "",
    *,
    norm: Norm = nn.BatchNorm2d,
    checkpoint_activations: bool = False,
    partial: bool = False,
    report: Callable[[str], object] = print,
) -> ResidualNet:
    """A network without classifier, filled from a file: a classifier's or a detector's, ours or another's.

    Args:
        path: a file that `read_weights` reads.
        arch: the network, where the file does not name it and its parameters do not tell.
        norm, checkpoint_activations: as of `ResidualNet`.
        partial: go on where the file does not fill all of the network.
        report: is told what was loaded, missing, unexpected and of another shape.

    Returns:
        the network, with `pretrained_cfg`: what the file says about itself (arch, mean, std, channel_order, input_size,
        classes), as a dict.

    Raises:
        InputError: the file cannot be read, its network is unknown, or it does not fill all of it.
    """
    weights = read_weights(path)
    spec = spec_of(weights, arch)
    if not isinstance(spec, ArchSpec):
        raise InputError(f"{path}: {spec.name} is no residual network; take torchvision.models.{spec.name}")
    network = ResidualNet(spec, None, norm, checkpoint_activations=checkpoint_activations)
    report(str(load_state(network, backbone_state(weights), weights.path, partial=partial)))
    network.pretrained_cfg = weights.about | {"arch": spec.name}
    return network
