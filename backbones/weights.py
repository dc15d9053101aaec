"""Parameters from files, with what the files say about them, into networks.

A checkpoint of ours is a dict: `model` (parameters by name), `task` ("classification" or "detection"), `arch`, `mean`
and `std` (of pixels in 0 to 255), `channel_order` ("RGB" or "BGR"), `input_size` (side of the training images, in
pixels), `classes` (names in the order of the outputs), and `trainer` (optimizer, iteration). Files of torchvision, timm
and detectron2 are read too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.files import read_checkpoint
from backbones.naming import from_caffe2, from_detectron2, from_timm_vgg, is_caffe2, is_detectron2, is_timm_vgg
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec

import torch
from torch import Tensor, nn

log = logging.getLogger("residet")

# Of ImageNet, for pixels in 0 to 255, RGB: what torchvision's and timm's weights were trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class About:
    """What a file says about the parameters in it; None where it does not say. The module's docstring has the units."""

    task: str | None = None
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str | None = None
    input_size: int | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Weights(About):
    """Parameters from a file, by our names, with what it says about them."""

    path: str
    state: Mapping[str, Tensor]

    @property
    def about(self) -> dict:
        """What the file says, as the items of a checkpoint."""
        return {k: v for k, v in asdict(self).items() if k in About.__dataclass_fields__ and v is not None}


def read_weights(path: str | Path) -> Weights:
    """Reads parameters from a checkpoint of ours, torchvision's, timm's or detectron2's (MSRA's Caffe2 names included).

    Raises:
        InputError: as `files.read_checkpoint`, or there are no parameters in it.
    """
    content = read_checkpoint(path)
    nested = [content[k] for k in ("model", "state_dict", "blobs") if isinstance(content.get(k), Mapping)]
    state = dict(nested[0] if nested else content)
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: found no state dict in it; its keys are {list(content)[:5]}")
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    known = _about(content, path)
    if is_caffe2(state):  # the ResNet authors' own, and what Detectron made of them
        state = from_caffe2(state)
        known = {"mean": IMAGENET_MEAN[::-1], "std": (1.0, 1.0, 1.0), "channel_order": "BGR"} | known
    if is_timm_vgg(state):
        state = from_timm_vgg(state)
    if is_detectron2(state):
        state, pixels = _without_pixels(from_detectron2(state))
        known = pixels | known
    return Weights(**known, path=str(path), state=state)


def _about(content: Mapping, path: str | Path) -> dict:
    known = {k: content[k] for k in About.__dataclass_fields__ if content.get(k) is not None}
    for key in {"mean", "std", "classes"} & set(known):
        if not isinstance(known[key], list | tuple):
            raise InputError(f"{path}: {key} is no list: {known[key]!r}")
        known[key] = tuple(known[key])
    if any(not isinstance(v, int | float) for key in ("mean", "std") for v in known.get(key, ())):
        raise InputError(f"{path}: mean and std are not numbers: {known.get('mean')}, {known.get('std')}")
    names = {spec.timm: name for name, spec in reversed(CATALOGUE.items()) if spec.timm}
    if known.get("arch") in names:
        known["arch"] = names[known["arch"]]
    return known


def _without_pixels(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """A detectron2 detector's parameters without its pixels and anchors, and what the pixels say."""
    known = {k: tuple(state[f"pixel_{k}"].flatten().tolist()) for k in ("mean", "std") if f"pixel_{k}" in state}
    if "mean" in known:  # ImageNet's blue is the darkest
        known["channel_order"] = "BGR" if known["mean"][0] < known["mean"][-1] else "RGB"
    dropped = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.", "anchor_generator.")
    return {k: v for k, v in state.items() if not k.startswith(dropped)}, known


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
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
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
    module.load_state_dict(fits, strict=False)
    return coverage


def backbone_state(weights: Weights) -> dict[str, Tensor]:
    """The backbone's parameters in a classifier's or a detector's, under a classifier's names and without its `fc`."""
    prefixes = ("backbone.bottom_up.", "backbone.body.", "backbone.", "roi_heads.")  # "body" is torchvision's
    detector = any(k.startswith("backbone.") for k in weights.state)
    state = {}
    for key, value in weights.state.items():
        prefix = next((p for p in prefixes if key.startswith(p)), "")
        name = key.removeprefix(prefix).replace("res5.", "layer4.", 1) if detector else key
        if not name.startswith("fc.") and (not detector or name.startswith(("conv1.", "bn1.", "layer"))):
            state[name] = value
    return state


def spec_of(weights: Weights, arch: str = "") -> ArchSpec | VGGSpec:
    """The network of a file: `arch`, else the one that the file names, else the one that has such parameters.

    Where several networks have the same parameters, files that give pixels as BGR are taken for the Caffe variant,
    others for the one that torchvision and timm have.

    Raises:
        InputError: the file names another than `arch`; or it names none, and none or several have such parameters.
    """
    if arch:
        check_arch(weights, arch)
    if arch or weights.arch:
        return get_spec(arch or weights.arch)
    state = {k: tuple(v.shape) for k, v in backbone_state(weights).items() if not k.endswith("num_batches_tracked")}
    blocks = {re.match(r"layer\d\.\d+|", k)[0] for k in state} - {""}
    rows = [
        spec
        for spec in CATALOGUE.values()
        if isinstance(spec, ArchSpec) and sum(spec.depths) == len(blocks) and _shapes(spec) == state
    ]
    caffe = weights.channel_order == "BGR"
    chosen = [spec for spec in rows if (spec.stride_in_first if caffe else spec.timm)] or rows
    if not chosen:
        raise InputError(f"{weights.path}: names no network and fits none of the catalogue; name its arch")
    if len({(spec.shortcut, spec.stride_in_first) for spec in chosen}) > 1:
        names = ", ".join(spec.name for spec in chosen)
        raise InputError(f"{weights.path}: names no network and fits {names}; name its arch")
    return chosen[0]


def _shapes(spec: ArchSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = ResidualNet(spec, num_classes=None).state_dict()
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def load_backbone(
    path: str | Path,
    arch: str = "",
    *,
    partial: bool = False,
    report: Callable[[str], object] = print,
    **options,
) -> ResidualNet:
    """A network without classifier, filled from a file: a classifier's or a detector's, ours or another's.

    Args:
        path: a file that `read_weights` reads.
        arch: the network, where the file does not name it and its parameters do not tell.
        partial: go on where the file does not fill all of the network.
        report: is told what was loaded, missing, unexpected and of another shape.
        options: of `ResidualNet`.

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
    network = ResidualNet(spec, num_classes=None, **options)
    report(str(load_state(network, backbone_state(weights), weights.path, partial=partial)))
    network.pretrained_cfg = weights.about | {"arch": spec.name}
    return network


def take_preprocessing(cfg, weights: Weights) -> None:
    """Sets detectron2's keys for pixels to what the file was trained with, where it says so."""
    if weights.mean:
        cfg.MODEL.PIXEL_MEAN = list(weights.mean)
    if weights.std:
        cfg.MODEL.PIXEL_STD = list(weights.std)
    if weights.channel_order:
        cfg.INPUT.FORMAT = weights.channel_order


def check_arch(weights: Weights, arch: str) -> None:
    """Raises InputError if the file says that it is of another network, warns where its pixels make that likely."""
    if weights.arch not in (None, arch):
        raise InputError(f"{weights.path}: holds {weights.arch}, the model is {arch}; use weights of {arch}")
    if weights.arch is None and weights.channel_order == "BGR" and f"{arch}_caffe" in CATALOGUE:
        log.warning(
            "%s: its pixels are BGR, as those of the ResNet authors' networks, whose stride is in the first 1x1; that of "
            "%s is in the 3x3: if the file is of theirs, use %s_caffe",
            weights.path,
            arch,
            arch,
        )
