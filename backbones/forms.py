"""The three forms of a ResNeXt block (ResNeXt, Fig. 3), and the conversion of weights between the forms.

The three forms compute the same function:

    (a) C paths, each 1x1, 3x3 and 1x1, summed:            y = x + bn3(sum of T_i(x))         Eqn. 3
    (b) C paths, each 1x1 and 3x3, concatenated, one 1x1:   y = x + bn3(conv3([B_1(x), …]))
    (c) 1x1, grouped 3x3, 1x1:                              `blocks.Block`, which the catalogue uses

BN and ReLU follow every convolution within a path. In (a) the last BN comes after the sum and before the shortcut is
added (footnote 6). In all forms the last ReLU comes after the addition of the shortcut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from backbones.blocks import Block, conv
from backbones.spec import Form

import torch
from torch import Tensor, nn

# The layers of a path (form (b) has conv3 outside the paths) -> the axis along which the tensors of the paths are
# concatenated in form (c).
_PATH_AXES = {"conv1": 0, "bn1": 0, "conv2": 0, "bn2": 0, "conv3": 1}


class Path(nn.Sequential):
    """One path of a block: T_i of form (a), (N, C, H, W) -> (N, C', H/s, W/s), or B_i of form (b), -> (N, d, H/s, W/s).

    Args:
        inputs: C.
        width: d, the width of the path.
        outputs: C', the outputs of T_i; None makes B_i, which ends after the 3x3.
        stride: s, the stride of the block.
        norm: makes the norm layer for a number of channels.
    """

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
    """A block in form (a): the results of the paths are summed."""

    def _build_branch(self, spec, inputs, inner, outputs, stride, norm, first):
        width = inner // spec.groups
        self.paths = nn.ModuleList(Path(inputs, width, outputs, stride, norm) for _ in range(spec.groups))
        self.bn3 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn3(sum(path(x) for path in self.paths))


class ConcatenatedBlock(Block):
    """A block in form (b): the results of the paths are concatenated before a common 1x1 convolution."""

    def _build_branch(self, spec, inputs, inner, outputs, stride, norm, first):
        width = inner // spec.groups
        self.paths = nn.ModuleList(Path(inputs, width, None, stride, norm) for _ in range(spec.groups))
        self.conv3 = conv(inner, outputs, 1)
        self.bn3 = norm(outputs)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn3(self.conv3(torch.cat([path(x) for path in self.paths], dim=1)))


def convert_form(state: Mapping[str, Tensor], form: Form, cardinality: int) -> dict[str, Tensor]:
    """Converts the parameters (or gradients) of a network from one form to another.

    Args:
        state: tensors by name, of a network in form (a), (b) or (c).
        form: the form to convert to.
        cardinality: C, the number of paths of a block.

    Returns:
        tensors by the names that a network in `form` has.
    """
    grouped = _grouped(state)
    if form == "c":
        return grouped
    path_layers = set(_PATH_AXES) - ({"conv3"} if form == "b" else set())
    split = {}
    for key, value in grouped.items():
        match = re.fullmatch(r"(.*layer\d+\.\d+\.)(\w+)(\.\w+)", key)
        if match is None or match.group(2) not in path_layers:
            split[key] = value
            continue
        block, layer, name = match.groups()
        counter = value.ndim == 0  # BN's count of batches is the same in every path
        split_value = [value] * cardinality if counter else value.chunk(cardinality, _PATH_AXES[layer])
        split |= {f"{block}paths.{i}.{layer}{name}": piece for i, piece in enumerate(split_value)}
    return split


def _grouped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` in form (c)."""
    grouped: dict[str, Tensor] = {}
    path_tensors: dict[str, list[Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.*)paths\.\d+\.(.*)", key)  # `state` lists the paths of a block in order
        if match is None:
            grouped[key] = value
        else:
            path_tensors.setdefault(match.group(1) + match.group(2), []).append(value)
    for key, values in path_tensors.items():
        layer = key.split(".")[-2]
        grouped[key] = values[0] if values[0].ndim == 0 else torch.cat(values, _PATH_AXES[layer])
    return grouped
