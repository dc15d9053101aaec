"""detectron2's, Caffe2's and timm's names of parameters, and torchvision's, which are ours.

    Caffe2 (MSRA)               detectron2                          ours
    conv1_w                     stem.conv1.weight                   conv1.weight
    res_conv1_bn_s              stem.conv1.norm.weight              bn1.weight
    res2_0_branch2a_w           res2.0.conv1.weight                 layer1.0.conv1.weight
    res2_0_branch2a_bn_b        res2.0.conv1.norm.bias              layer1.0.bn1.bias
    res2_0_branch1_w            res2.0.shortcut.weight              layer1.0.downsample.0.weight
    pred_w                      linear.weight                       fc.weight

In a detector, the names of its backbone and of its C4 head's `roi_heads.res5` change in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_CAFFE2_NAMES = (
    (r"(pred|fc1000)_", "linear_"),
    (r"(?:res_)?conv1_", "stem.conv1_"),
    (r"res(\d)_(\d+)_branch1_", r"res\1.\2.shortcut_"),
    (r"res(\d)_(\d+)_branch2a_", r"res\1.\2.conv1_"),
    (r"res(\d)_(\d+)_branch2b_", r"res\1.\2.conv2_"),
    (r"res(\d)_(\d+)_branch2c_", r"res\1.\2.conv3_"),
)
_CAFFE2_ENDS = {
    "_w": ".weight",
    "_b": ".bias",
    "_bn_s": ".norm.weight",
    "_bn_b": ".norm.bias",
    "_bn_rm": ".norm.running_mean",
    "_bn_riv": ".norm.running_var",
    "_gn_s": ".norm.weight",
    "_gn_b": ".norm.bias",
}
_BACKBONE = r"(backbone\.bottom_up\.|backbone\.|)"
_BLOCK = r"(.*layer\d\.\d+\.|roi_heads\.res5\.\d+\.)"
_BN_EPS = 1e-5


def is_detectron2(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are detectron2's."""
    return any(key.endswith("stem.conv1.weight") for key in state)


def is_timm_vgg(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of timm's VGG."""
    return "pre_logits.fc1.weight" in state


def is_caffe2(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are Caffe2's."""
    return "conv1_w" in state


def from_caffe2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Caffe2's names -> detectron2's.

    Where only an affine map is left of BN, its statistics become those that change nothing.
    """
    renamed = {}
    for key, value in state.items():
        if key.endswith("_momentum"):
            continue
        name = key
        for pattern, replacement in _CAFFE2_NAMES:
            name, found = re.subn("^" + pattern, replacement, name)
            if found:
                break
        end = re.search(r"_(bn_|gn_)?\w+$", name)
        if end and end.group() in _CAFFE2_ENDS:
            name = name[: end.start()] + _CAFFE2_ENDS[end.group()]
        renamed[name] = value
    for key, value in state.items():
        if key.endswith("_bn_s") and key[:-1] + "rm" not in state:
            norm = next(name for name, tensor in renamed.items() if tensor is value).removesuffix("weight")
            renamed[norm + "running_mean"] = torch.zeros_like(value)
            renamed[norm + "running_var"] = torch.full_like(value, 1 - _BN_EPS)
    return renamed


def from_timm_vgg(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's VGG, whose fully connected layers are convolutions of their own names -> torchvision's."""
    names = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}
    renamed = {}
    for key, value in state.items():
        prefix = next((p for p in names if key.startswith(p)), "")
        renamed[names.get(prefix, "") + key.removeprefix(prefix)] = (
            value.flatten(1) if prefix and value.ndim == 4 else value
        )
    return renamed


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """detectron2's names -> ours; those that do not belong to a ResNet stay."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(rf"^{_BACKBONE}stem\.conv1\.norm\.", r"\1bn1.", key)
        name = re.sub(rf"^{_BACKBONE}stem\.conv1\.", r"\1conv1.", name)
        name = re.sub(rf"^{_BACKBONE}res([2-5])\.", lambda m: f"{m[1]}layer{int(m[2]) - 1}.", name)
        name = re.sub(rf"^{_BLOCK}conv(\d)\.norm\.", r"\1bn\2.", name)
        name = re.sub(rf"^{_BLOCK}shortcut\.norm\.", r"\1downsample.1.", name)
        name = re.sub(rf"^{_BLOCK}shortcut\.", r"\1downsample.0.", name)
        renamed[re.sub(r"^linear\.", "fc.", name)] = value
    return renamed


def to_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names of a classifier's parameters -> detectron2's."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"^bn1\.", "stem.conv1.norm.", re.sub(r"^conv1\.", "stem.conv1.", key))
        name = re.sub(r"^(layer\d\.\d+\.)bn(\d)\.", r"\1conv\2.norm.", name)
        name = re.sub(r"^(layer\d\.\d+\.)downsample\.1\.", r"\1shortcut.norm.", name)
        name = re.sub(r"^(layer\d\.\d+\.)downsample\.0\.", r"\1shortcut.", name)
        name = re.sub(r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", name)
        renamed[re.sub(r"^fc\.", "linear.", name)] = value
    return renamed
