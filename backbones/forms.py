"""The three forms of a ResNeXt block (ResNeXt, Fig. 3), which compute the same, and the way of weights between them.

    (a) C paths, each 1x1, 3x3 and 1x1, summed:            y = x + bn3(sum of T_i(x))         Eqn. 3
    (b) C paths, each 1x1 and 3x3, concatenated, one 1x1:   y = x + bn3(conv3([B_1(x), …]))
    (c) 1x1, grouped 3x3, 1x1:                              `blocks.Block`, which the catalogue uses

BN and ReLU follow every convolution within a path; in (a) the last BN comes after the sum and before the shortcut is
added (footnote 6). ReLU comes after the addition in all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from backbones.blocks import Block, conv
from backbones.spec import Form

import torch
from torch import Tensor, nn

# What a path has of its own (in form (b) all but conv3), and the axis along which form (c) holds them together.
_PATH_AXES = {"conv1": 0, "bn1": 0, "conv2": 0, "bn2": 0, "conv3": 1}


class Path(nn.Sequential):
    """One transformation T_i up to its 3x3, in form (a) with the last 1x1: (N, C, H, W) -> (N, d or C', H/s, W/s)."""

    def __init__(self, inputs, width, outputs, stride, norm):
        super().__init__()
        relu = nn.ReLU(inplace=True)
        layers = {"conv1": conv(inputs, width, 1), "bn1": norm(width), "relu1": relu}
        layers |= {"conv2": conv(width, width, 3, stride), "bn2": norm(width), "relu2": relu}
        if outputs is not None:
            layers["conv3"] = conv(width, outputs, 1)
        for name, layer in layers.items():
            self.add_module(name, layer)


class SummedBlock(Block):
    """Form (a)."""

    def _build_branch(self, spec, inputs, inner, outputs, stride, norm, first):
        width = inner // spec.groups
        self.paths = nn.ModuleList(Path(inputs, width, outputs, stride, norm) for _ in range(spec.groups))
        self.bn3 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn3(sum(path(x) for path in self.paths))


class ConcatenatedBlock(Block):
    """Form (b)."""

    def _build_branch(self, spec, inputs, inner, outputs, stride, norm, first):
        width = inner // spec.groups
        self.paths = nn.ModuleList(Path(inputs, width, None, stride, norm) for _ in range(spec.groups))
        self.conv3 = conv(inner, outputs, 1)
        self.bn3 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn3(self.conv3(torch.cat([path(x) for path in self.paths], dim=1)))


def convert_form(state: Mapping[str, Tensor], form: Form, cardinality: int) -> dict[str, Tensor]:
    """Maps the parameters (or gradients) of a network in any form to another form.

    Args:
        state: tensors by name, of a network in form (a), (b) or (c).
        form: the form wanted.
        cardinality: C, the number of paths of a block.

    Returns:
        tensors by the names of the form wanted.
    """
    whole = _grouped(state)
    if form == "c":
        return whole
    own = set(_PATH_AXES) - ({"conv3"} if form == "b" else set())
    split = {}
    for key, value in whole.items():
        match = re.fullmatch(r"(.*layer\d+\.\d+\.)(\w+)(\.\w+)", key)
        if match is None or match.group(2) not in own:
            split[key] = value
            continue
        block, layer, name = match.groups()
        counter = value.ndim == 0  # BN's count of batches is the same in every path
        parts = [value] * cardinality if counter else value.chunk(cardinality, _PATH_AXES[layer])
        split |= {f"{block}paths.{i}.{layer}{name}": part for i, part in enumerate(parts)}
    return split


def _grouped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` in form (c)."""
    whole: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.*)paths\.\d+\.(.*)", key)  # paths come in order
        if match is None:
            whole[key] = value
        else:
            parts.setdefault(match.group(1) + match.group(2), []).append(value)
    for key, values in parts.items():
        layer = key.split(".")[-2]
        whole[key] = values[0] if values[0].ndim == 0 else torch.cat(values, _PATH_AXES[layer])
    return whole
