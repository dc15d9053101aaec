"""The names of Wide ResNets on CIFAR and SVHN: WRN-n-k-B(M), with dropout.

    cifar_wrn28_10          WRN-28-10, B(3,3)
    cifar_wrn40_2_b131      WRN-40-2-B(1,3,1)
    cifar_wrn28_10_d0.3     with dropout 0.3 between the convolutions

n is the number of convolutions, k the widening factor, M the kernel sizes of a block; the number of those is the
deepening factor l. n is 4 more than a multiple of 3 * l: conv1, a projection in each of three stages, and the blocks.
"""

from __future__ import annotations

import re

from backbones.errors import InputError
from backbones.interface import PublishedValue
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec

CIFAR_WRN = "cifar_wrn"
_NAME = re.compile(CIFAR_WRN + r"(\d+)_(\d+)(?:_b([13]+))?(?:_d(0?\.\d{1,4}))?")


def parse_cifar_wrn(name: str, published: tuple[PublishedValue, ...] = ()) -> ArchSpec:
    """The network that `name` describes. `spec.name` is the shortest form of the name.

    Args:
        name: a name of the grammar above.
        published: sizes that papers print for the network.

    Raises:
        InputError: the name does not follow the grammar, or no network has that depth; the message gives valid values.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name!r} is no name of a Wide ResNet; write {CIFAR_WRN}N_K, with _bM for the kernel sizes of a block and "
            "_dP for dropout where they are not 33 and 0, e.g. cifar_wrn28_10, cifar_wrn40_2_b131, cifar_wrn28_10_d0.3"
        )
    depth, width = int(match[1]), int(match[2])
    kernels = tuple(int(k) for k in match[3] or "33")
    dropout = float(match[4] or 0)
    step = 3 * len(kernels)
    blocks, rest = divmod(depth - 4, step)
    widths = tuple(width * c for c in (16, 32, 64))
    spec = ArchSpec(
        _shortest_name(depth, width, kernels, dropout),
        kernels,
        (blocks,) * 3,
        widths,
        widths,
        stride_in_first=True,  # Wide ResNet, Table 1: "downsampling is performed by the first layers"
        preact=True,
        dropout=dropout,
        stem="cifar",
        stem_width=16,
        published=published,
        network=ResidualNet,
    )
    if rest or blocks < 1:
        below = max(depth - 4, step) // step * step + 4
        raise InputError(
            f"{name!r}: a Wide ResNet of {spec.block} has no depth {depth}; valid are 4 + {step} N: "
            f"{', '.join(str(4 + step * n) for n in range(1, 6))}, …; nearest are {below} and {below + step}"
        )
    if width < 1:
        raise InputError(f"{name!r}: the widening factor K begins at 1")
    if 3 not in kernels:
        raise InputError(f"{name!r}: a block needs a 3x3 convolution")
    if dropout and len(kernels) == 1:
        raise InputError(f"{name!r}: dropout lies between the convolutions of a block, and {spec.block} has one")
    return spec


def _shortest_name(depth: int, width: int, kernels: tuple[int, ...], dropout: float) -> str:
    block = "" if kernels == (3, 3) else f"_b{''.join(map(str, kernels))}"
    return f"{CIFAR_WRN}{depth}_{width}{block}" + (f"_d{dropout:g}" if dropout else "")
