"""Sizes of the networks beside the figures that the papers print.

The sizes are counted on torch's meta device, which computes no values: parameters; multiply-adds of convolutions and
classifier for one image of the papers' size (FLOPs in the papers' words); activations, the number of output values of
convolutions and classifier.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from backbones.interface import NetworkSpec, PublishedValue

import torch
from tabulate import tabulate
from torch import nn

FLOPS_TOLERANCE = 0.03
"""Allowed relative difference from a paper's FLOPs: the papers print two or three digits, and some round down."""


@dataclass(frozen=True)
class Complexity:
    """Sizes of a network.

    Attributes:
        params: number of parameters, in millions.
        weights: number of parameters without those of norms, in millions.
        flops: multiply-adds of convolutions and classifier, in billions.
        activations: output values of convolutions and classifier, in millions.
    """

    params: float
    weights: float
    flops: float
    activations: float


@functools.cache
def measure(spec: NetworkSpec) -> Complexity:
    """The sizes of a network, for one image of the papers' size and the papers' number of classes."""
    with torch.device("meta"):
        network = spec.build(spec.num_classes).eval()
        image = torch.empty(1, 3, spec.input_size, spec.input_size)
    outputs, flops = [], []

    def count(module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        outputs.append(output.numel())
        flops.append(output.numel() * module.weight[0].numel())  # inputs of one output value

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
        elif isinstance(module, nn.BatchNorm2d):  # slow on the meta device, and of no matter to the sizes
            module.forward = nn.Identity().forward
    with torch.no_grad():
        network(image)
    params = sum(p.numel() for p in network.parameters())
    norms = sum(p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    return Complexity(params / 1e6, (params - norms) / 1e6, sum(flops) / 1e9, sum(outputs) / 1e6)


def agrees(published: PublishedValue, size: Complexity) -> bool:
    """Whether a counted size is the size that a paper prints.

    Params and weights must be equal to the last printed digit, flops within FLOPS_TOLERANCE.
    """
    counted, printed = getattr(size, published.quantity), float(published.value)
    if published.quantity == "flops":
        return abs(counted / printed - 1) <= FLOPS_TOLERANCE
    digits = len(published.value.partition(".")[2])
    return round(counted, digits) == printed


def table(specs: Iterable[NetworkSpec], tablefmt: str = "simple") -> str:
    """A table of sizes as text: a line for each network, and a line for each further figure that a paper prints.

    Args:
        specs: the networks.
        tablefmt: name of a table format of the package tabulate, e.g. "github".
    """
    columns = ["network", "blocks", "params M", "flops G", "activations M", "paper", "difference", "source"]
    lines = []
    for spec in specs:
        size = measure(spec)
        sizes = [spec.name, spec.summary, f"{size.params:.2f}", f"{size.flops:.3g}", f"{size.activations:.2f}"]
        for value in spec.published or [None]:
            lines.append(sizes + ([""] * 3 if value is None else _compared(value, size)))
            sizes = [""] * 5
    return tabulate(lines, columns, tablefmt, disable_numparse=True, colalign=("left", "left", *["right"] * 5, "left"))


def _compared(published: PublishedValue, size: Complexity) -> list[str]:
    difference = getattr(size, published.quantity) / float(published.value) - 1
    unit = "G flops" if published.quantity == "flops" else f"M {published.quantity}"
    remark = f": not this network's, {published.differs}" if published.differs else ""
    return [f"{published.value} {unit}", f"{100 * difference:+.1f} %", published.source + remark]
