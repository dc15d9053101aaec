"""Sizes of the networks, beside those that the papers print.

Counted without computing, on torch's meta device: parameters; multiply-adds of convolutions and classifier for one
image of the papers' size (what the papers call FLOPs); activations, the values that these layers put out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from backbones.networks import build_network
from backbones.spec import ArchSpec, Figure
from backbones.vgg import VGGSpec

import torch
from tabulate import tabulate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

FLOPS_TOLERANCE = 0.03
"""How far from a paper's FLOPs ours may be: the papers print two or three digits, and some round down."""


@dataclass(frozen=True)
class Complexity:
    """Sizes of a network: params, weights (params without norms') and activations in millions, flops in billions."""

    params: float
    weights: float
    flops: float
    activations: float


@functools.cache
def measure(spec: ArchSpec | VGGSpec) -> Complexity:
    """Sizes for one image of the papers' size, with the papers' number of classes."""
    with torch.device("meta"):
        network = build_network(spec, spec.num_classes).eval()
        image = torch.empty(1, 3, spec.input_size, spec.input_size)
    outputs = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    params = sum(p.numel() for p in network.parameters())
    norms = sum(p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    # FlopCounterMode counts multiplication and addition apart.
    return Complexity(params / 1e6, (params - norms) / 1e6, counter.get_total_flops() / 2e9, sum(outputs) / 1e6)


def agrees(figure: Figure, size: Complexity) -> bool:
    """Whether a size is the paper's: parameters to the digits printed, FLOPs within FLOPS_TOLERANCE."""
    ours, printed = getattr(size, figure.quantity), float(figure.value)
    if figure.quantity == "flops":
        return abs(ours / printed - 1) <= FLOPS_TOLERANCE
    digits = len(figure.value.partition(".")[2])
    return round(ours, digits) == printed


def table(specs: Iterable[ArchSpec | VGGSpec], tablefmt: str = "simple") -> str:
    """One line a network, one more for each further figure of a paper.

    Args:
        specs: the networks.
        tablefmt: tabulate's name of a format, e.g. "github".
    """
    columns = ["network", "blocks", "params M", "flops G", "activations M", "paper", "difference", "source"]
    lines = []
    for spec in specs:
        size = measure(spec)
        blocks = f"{spec.block} x {', '.join(map(str, spec.depths))}" if isinstance(spec, ArchSpec) else ""
        sizes = [spec.name, blocks, f"{size.params:.2f}", f"{size.flops:.3g}", f"{size.activations:.2f}"]
        for figure in spec.figures or [None]:
            lines.append(sizes + ([""] * 3 if figure is None else _compared(figure, size)))
            sizes = [""] * 5
    return tabulate(lines, columns, tablefmt, disable_numparse=True, colalign=("left", "left", *["right"] * 5, "left"))


def _compared(figure: Figure, size: Complexity) -> list[str]:
    difference = getattr(size, figure.quantity) / float(figure.value) - 1
    unit = "G flops" if figure.quantity == "flops" else f"M {figure.quantity}"
    remark = f": not this network's, {figure.differs}" if figure.differs else ""
    return [f"{figure.value} {unit}", f"{100 * difference:+.1f} %", figure.source + remark]
