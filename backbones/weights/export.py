"""Weights -> files that torchvision, timm and detectron2 load."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.networks import build_network
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec
from backbones.weights.files import save_checkpoint, save_safetensors
from backbones.weights.load import backbone_state, load_state, spec_of
from backbones.weights.naming import to_detectron2, to_timm_vgg
from backbones.weights.read import Weights, read_weights

import torchvision
from torch import nn

FORMATS = ("residet", "torchvision", "timm", "detectron2")


def export(source: str | Path, output: str | Path, to: str, arch: str = "") -> str:
    """Writes the weights of a classifier, or of a detector's backbone, for another library.

    "residet" is a checkpoint of ours; "torchvision" and "timm" a bare state dict; "detectron2" a checkpoint with
    detectron2's names, which its DetectionCheckpointer matches with any detector that has the network.

    Args:
        source: a file that `weights.read_weights` reads.
        output: a `.pth` or `.safetensors` file (detectron2 reads `.pth` only).
        to: of FORMATS.
        arch: the network, where the file does not name it and its parameters do not tell.

    Returns:
        what was written.

    Raises:
        InputError: the file cannot be read or does not fill the network, or the other library has no such network.
    """
    weights = read_weights(source)
    spec = spec_of(weights, arch)
    name = _name(spec, to)
    state = _network(spec, weights).state_dict()
    if isinstance(spec, VGGSpec) and to == "timm":
        state = to_timm_vgg(state)
    about = weights.about | {"arch": spec.name}
    if isinstance(spec, ArchSpec) and "fc.bias" not in state:  # what was said of the detector or the classifier
        about = {k: v for k, v in about.items() if k not in ("task", "classes")}
    suffix = Path(output).suffix
    if suffix not in (".pth", ".safetensors") or (to == "detectron2" and suffix != ".pth"):
        raise InputError(f"{output}: write a {'.pth' if to == 'detectron2' else '.pth or .safetensors'} file")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".safetensors":
        save_safetensors(state, about if to == "residet" else {}, output)
    elif to == "residet":
        save_checkpoint({"model": state, **about, "matching_heuristics": True}, output)
    elif to == "detectron2":
        content = {"model": to_detectron2(state), "__author__": "residet", "matching_heuristics": True}
        save_checkpoint(content, output)
    else:
        save_checkpoint(state, output)
    pixels = f"pixels {weights.channel_order or 'RGB'}, mean {weights.mean}, std {weights.std}"
    return f"{output}: {len(state)} entries of {name} for {to}; {pixels if weights.mean else 'pixels not known'}"


def _name(spec: ArchSpec | VGGSpec, to: str) -> str:
    """The network's name in the other library."""
    there = {
        "residet": spec.name,
        "timm": spec.timm,
        "torchvision": spec.timm if spec.timm in torchvision.models.list_models() else "",
        "detectron2": spec.name if _in_detectron2(spec) else "",
    }
    if to not in there:
        raise InputError(f"--to: {to!r} is none of {', '.join(FORMATS)}")
    if not there[to]:
        raise InputError(f"{spec.name}: {to} does not have this network")
    return there[to]


def _in_detectron2(spec: ArchSpec | VGGSpec) -> bool:
    """Its ResNet takes basic blocks and bottlenecks with projections, behind a 7x7 stem."""
    return isinstance(spec, ArchSpec) and spec.shortcut == "B" and spec.stem == "imagenet" and not spec.preact


def _network(spec: ArchSpec | VGGSpec, weights: Weights) -> nn.Module:
    """The network filled: all of it, or without the classifier where the file has none."""
    if isinstance(spec, VGGSpec):
        if "classifier.6.bias" not in weights.state:
            raise InputError(f"{weights.path}: holds no classifier of {spec.name}, which alone can be exported")
        network, state = build_network(spec, len(weights.state["classifier.6.bias"])), weights.state
    elif "fc.bias" in weights.state:
        network, state = build_network(spec, len(weights.state["fc.bias"])), weights.state
    else:
        network, state = ResidualNet(spec, num_classes=None), backbone_state(weights)
    load_state(network, state, weights.path)
    return network
