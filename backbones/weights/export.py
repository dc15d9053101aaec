"""Writes the weights of a network as a file that residet, torchvision, timm or detectron2 loads."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.interface import NetworkSpec
from backbones.weights import FORMATS
from backbones.weights.files import save_checkpoint, save_safetensors
from backbones.weights.load import feature_state, load_state, spec_of
from backbones.weights.naming import to_detectron2
from backbones.weights.read import Weights, read_weights
from backbones.whole_files import check_target

import torchvision
from torch import nn


def export(source: str | Path, output: str | Path, to: str, arch: str = "") -> str:
    """Writes the weights of a classifier, or of a detector's backbone, in the format of a library.

    Args:
        source: the file to convert, or a name of weights, as `read_weights` takes it.
        output: the file to write, `.pth` or `.safetensors`; must not exist. For detectron2 only `.pth`.
        to: the format, one of FORMATS. "residet" writes a residet checkpoint; "torchvision" and "timm" write a bare
            state dict; "detectron2" writes a checkpoint with detectron2's parameter names. detectron2's
            DetectionCheckpointer loads the checkpoint into any detector that has the network as its backbone.
        arch: name of the network. Needed only if `spec_of` cannot tell the network from the file.

    Returns:
        a line for the user: the file, the number of entries and the pixels that the network takes.

    Raises:
        InputError: the file cannot be read or does not fill the network, the library has no such network, or `output`
            exists, cannot be written, or has another suffix.
    """
    suffix = Path(output).suffix
    if suffix not in (".pth", ".safetensors") or (to == "detectron2" and suffix != ".pth"):
        raise InputError(f"{output}: write a {'.pth' if to == 'detectron2' else '.pth or .safetensors'} file")
    check_target(output, "--output")
    weights = read_weights(source, arch)
    spec = spec_of(weights, arch)
    name = _name(spec, to)
    state = _network(spec, weights).state_dict()
    metadata = weights.metadata | {"arch": spec.name}
    if f"{spec.last_layer}.bias" not in state:  # without classifier: the file's task and classes are a detector's
        metadata = {k: v for k, v in metadata.items() if k not in ("task", "classes")}
    if to == "timm":
        state = spec.to_timm(state)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".safetensors":
        save_safetensors(state, metadata if to == "residet" else {}, output)
    elif to == "residet":
        save_checkpoint({"model": state, **metadata, "matching_heuristics": True}, output)
    elif to == "detectron2":
        content = {"model": to_detectron2(state), "__author__": "residet", "matching_heuristics": True}
        save_checkpoint(content, output)
    else:
        save_checkpoint(state, output)
    pixels = f"pixels {weights.channel_order or 'RGB'}, mean {weights.mean}, std {weights.std}"
    return f"{output}: {len(state)} entries of {name} for {to}; {pixels if weights.mean else 'pixels not known'}"


def _name(spec: NetworkSpec, to: str) -> str:
    """The network's name in the library `to`.

    Raises:
        InputError: `to` is not one of FORMATS, or the library has no such network.
    """
    names = {
        "residet": spec.name,
        "timm": spec.timm,
        "torchvision": spec.timm if spec.timm in torchvision.models.list_models() else "",
        "detectron2": spec.name if spec.in_detectron2 else "",
    }
    if to not in names:
        raise InputError(f"--to: {to!r} is none of {', '.join(FORMATS)}")
    if not names[to]:
        raise InputError(f"{spec.name}: {to} does not have this network; --to residet takes every network")
    return names[to]


def _network(spec: NetworkSpec, weights: Weights) -> nn.Module:
    """The network with the file's weights; without a classifier if the file has no classifier."""
    bias = weights.state.get(f"{spec.last_layer}.bias")
    if bias is None:
        network, state = spec.build(None), feature_state(spec, weights)
    else:
        network, state = spec.build(len(bias)), weights.state
    load_state(network, state, weights.path)
    return network
