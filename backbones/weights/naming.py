"""Converts the parameter names of detectron2's, Caffe2's and timm's files to residet's names, and back.

residet uses torchvision's names:

    Caffe2 (MSRA)               detectron2                          residet
    conv1_w                     stem.conv1.weight                   conv1.weight
    res_conv1_bn_s              stem.conv1.norm.weight              bn1.weight
    res2_0_branch2a_w           res2.0.conv1.weight                 layer1.0.conv1.weight
    res2_0_branch2a_bn_b        res2.0.conv1.norm.bias              layer1.0.bn1.bias
    res2_0_branch1_w            res2.0.shortcut.weight              layer1.0.downsample.0.weight
    fc1000_w, pred_w            linear.weight, stem.fc.weight       fc.weight

In a detector's file, the backbone's names and those of a C4 head's `roi_heads.res5` are converted behind their prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_CAFFE2_LAYERS = (
    (r"(pred|fc1000)", "linear"),
    (r"(res_)?conv1", "stem.conv1"),
    (r"res(\d)_(\d+)_branch1", r"res\1.\2.shortcut"),
    (r"res(\d)_(\d+)_branch2a", r"res\1.\2.conv1"),
    (r"res(\d)_(\d+)_branch2b", r"res\1.\2.conv2"),
    (r"res(\d)_(\d+)_branch2c", r"res\1.\2.conv3"),
)
_CAFFE2_ENDS = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_gamma": "norm.weight",
    "bn_b": "norm.bias",
    "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}
_BACKBONE = r"(backbone\.bottom_up\.|backbone\.|)"
_BLOCK = r"(.*layer\d\.\d+\.|roi_heads\.res5\.\d+\.)"
_TIMM_VGG = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}


def is_detectron2(state: Mapping[str, Tensor]) -> bool:
    """Whether `state` has detectron2's parameter names."""
    return any(key.endswith("stem.conv1.weight") for key in state)


def is_caffe2(state: Mapping[str, Tensor]) -> bool:
    """Whether `state` has Caffe2's parameter names."""
    return "conv1_w" in state


def is_timm_vgg(state: Mapping[str, Tensor]) -> bool:
    """Whether `state` has the parameter names of timm's VGG."""
    return "pre_logits.fc1.weight" in state


def from_caffe2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames parameters from Caffe2's names to detectron2's names, as detectron2's checkpointer does.

    A BN of which the file holds only the affine map gets the statistics mean 0 and variance 1. Momenta are left out,
    and so is the bias of the first convolution in MSRA's files.
    """
    renamed = {}
    for key, value in state.items():
        if not key.endswith("_momentum") and key != "conv1_b":
            renamed[_caffe2_name(key)] = value
    for key, value in state.items():
        norm = _caffe2_name(key).removesuffix("weight")
        if key.endswith(("_bn_s", "_bn_gamma")) and norm + "running_var" not in renamed:
            renamed[norm + "running_mean"] = torch.zeros_like(value)
            renamed[norm + "running_var"] = torch.ones_like(value)
    return renamed


def _caffe2_name(key: str) -> str:
    ends = "|".join(sorted(_CAFFE2_ENDS, key=len, reverse=True))
    for layer, name in _CAFFE2_LAYERS:
        match = re.fullmatch(rf"(?P<layer>{layer})_(?P<end>{ends})", key)
        if match:
            return f"{re.sub(layer, name, match['layer'])}.{_CAFFE2_ENDS[match['end']]}"
    return key


def from_timm_vgg(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a VGG's parameters from timm's names to torchvision's names.

    timm writes the fully connected layers as convolutions: their weights are flattened to matrices.
    """
    renamed = {}
    for key, value in state.items():
        layer, _, end = key.rpartition(".")
        fully_connected = layer in _TIMM_VGG and value.ndim == 4
        renamed[f"{_TIMM_VGG.get(layer, layer)}.{end}"] = value.flatten(1) if fully_connected else value
    return renamed


def to_timm_vgg(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a VGG's parameters from torchvision's names to timm's, with fc6 as a 7x7 and fc7 as a 1x1 convolution."""
    names_of_timm = {name: timm_name for timm_name, name in _TIMM_VGG.items()}
    kernels = {"classifier.0.weight": 7, "classifier.3.weight": 1}
    renamed = {}
    for key, value in state.items():
        layer, _, end = key.rpartition(".")
        shaped = value.unflatten(1, (-1, kernels[key], kernels[key])) if key in kernels else value
        renamed[f"{names_of_timm.get(layer, layer)}.{end}"] = shaped
    return renamed


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames parameters from detectron2's names to residet's names. Names outside a ResNet stay."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(rf"^{_BACKBONE}stem\.conv1\.norm\.", r"\1bn1.", key)
        name = re.sub(rf"^{_BACKBONE}stem\.conv1\.", r"\1conv1.", name)
        name = re.sub(rf"^{_BACKBONE}res([2-5])\.", lambda m: f"{m[1]}layer{int(m[2]) - 1}.", name)
        name = re.sub(rf"^{_BLOCK}conv(\d)\.norm\.", r"\1bn\2.", name)
        name = re.sub(rf"^{_BLOCK}shortcut\.norm\.", r"\1downsample.1.", name)
        name = re.sub(rf"^{_BLOCK}shortcut\.", r"\1downsample.0.", name)
        renamed[re.sub(r"^(linear|stem\.fc)\.", "fc.", name)] = value
    return renamed


def to_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a classifier's parameters from residet's names to detectron2's names."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"^bn1\.", "stem.conv1.norm.", re.sub(r"^conv1\.", "stem.conv1.", key))
        name = re.sub(r"^(layer\d\.\d+\.)bn(\d)\.", r"\1conv\2.norm.", name)
        name = re.sub(r"^(layer\d\.\d+\.)downsample\.1\.", r"\1shortcut.norm.", name)
        name = re.sub(r"^(layer\d\.\d+\.)downsample\.0\.", r"\1shortcut.", name)
        name = re.sub(r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", name)
        renamed[re.sub(r"^fc\.", "linear.", name)] = value
    return renamed
