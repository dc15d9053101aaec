"""The catalogue: one row for each network of the three papers and VGG, with the sizes that the papers print.

To add a network, add a row.
"""

from __future__ import annotations

import dataclasses
import difflib
import re

from backbones.errors import InputError
from backbones.interface import NetworkSpec, PublishedValue
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec, Form
from backbones.vgg import VGGSpec
from backbones.wide import CIFAR_WRN, parse_cifar_wrn

BASIC, BOTTLENECK = (3, 3), (1, 3, 1)
D18, D34, D50, D101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3)
D152, D200 = (3, 8, 36, 3), (3, 24, 36, 3)


def _params(value: str, source: str, differs: str = "") -> PublishedValue:
    return PublishedValue("params", value, source, differs)


def _weights(value: str, source: str) -> PublishedValue:
    """A number of parameters from a paper that counts convolutions and classifier only, without norms."""
    return PublishedValue("weights", value, source)


def _flops(value: str, source: str, differs: str = "") -> PublishedValue:
    return PublishedValue("flops", value, source, differs)


def _basic(name: str, depths, *published: PublishedValue, width: float = 1, **fields) -> ArchSpec:
    """A network of basic blocks, with `width` times ResNet's channels (Wide ResNet, Table 7)."""
    widths = tuple(round(width * c) for c in (64, 128, 256, 512))
    return ArchSpec(name, BASIC, depths, widths, widths, published=published, network=ResidualNet, **fields)


def _bottleneck(name: str, depths, *published: PublishedValue, cardinality: int = 1, d: int = 64, **fields) -> ArchSpec:
    """A network of bottlenecks with 256 to 2048 outputs, in res2 `cardinality` x `d` wide (ResNeXt, Table 2)."""
    inner = tuple(cardinality * d * m for m in (1, 2, 4, 8))
    return ArchSpec(
        name,
        BOTTLENECK,
        depths,
        (256, 512, 1024, 2048),
        inner,
        cardinality,
        published=published,
        network=ResidualNet,
        **fields,
    )


def _cifar(name: str, depth: int, *published: PublishedValue, kernels=BASIC, **fields) -> ArchSpec:
    """Three stages of basic blocks of 16, 32 and 64 channels, or of bottlenecks with so many inner channels."""
    blocks = (depth - 2) // (3 * len(kernels))
    inner = (16, 32, 64)
    widths = inner if kernels == BASIC else tuple(4 * c for c in inner)
    return ArchSpec(
        name,
        kernels,
        (blocks,) * 3,
        widths,
        inner,
        stem="cifar",
        stem_width=16,
        published=published,
        network=ResidualNet,
        **fields,
    )


def _cifar_resnext(cardinality: int, d: int, *published: PublishedValue, small: bool = False) -> ArchSpec:
    """Three stages of three bottlenecks, whose `cardinality` paths have d channels in res2 (ResNeXt, section 6.2).

    `small` has a quarter of the paper's outputs, for trials on two CPU cores.
    """
    inner = tuple(cardinality * d * m for m in (1, 2, 4))
    return ArchSpec(
        f"cifar_resnext29{'s' if small else ''}_{cardinality}x{d}d",
        BOTTLENECK,
        (3, 3, 3),
        (64, 128, 256) if small else (256, 512, 1024),
        inner,
        cardinality,
        stem="cifar",
        published=published,
        network=ResidualNet,
    )


def _cifar_wrn(name: str, *published: PublishedValue) -> ArchSpec:
    return parse_cifar_wrn(name, published)


R1, R6 = "ResNet, Table 1", "ResNet, Table 6"
W2, W3, W4, W5, W7, W8 = (f"Wide ResNet, Table {n}" for n in (2, 3, 4, 5, 7, 8))
X1, X7, X_TWICE = "ResNeXt, Table 1", "ResNeXt, Table 7", "ResNeXt, section 5.1"
X_101 = "ResNeXt, Fig. 5"


def _wrn_of_figure(depth: int, blocks: int, block: str) -> str:
    return f"it takes {blocks} blocks a stage, which makes {depth} convolutions: cifar_wrn{depth}_2_{block}"


_IMAGENET = (
    # ResNet
    _basic("plain18", D18, shortcut="none"),
    _basic("plain34", D34, _flops("3.6", "ResNet, Fig. 3"), shortcut="none"),
    _basic("resnet18", D18, _flops("1.8", R1), timm="resnet18"),
    _basic("resnet18_a", D18, shortcut="A"),
    _basic("resnet34", D34, _flops("3.6", R1), timm="resnet34"),
    _basic("resnet34_a", D34, shortcut="A"),
    _basic("resnet34_c", D34, shortcut="C"),
    _bottleneck(
        "resnet50",
        D50,
        _params("25.6", W8),
        _weights("25.5", X1),
        _flops("4.1", X1),
        timm="resnet50",
    ),
    _bottleneck("resnet50_plain", D50, shortcut="none"),
    _bottleneck("resnet50_caffe", D50, _flops("3.8", R1), stride_in_first=True),
    _bottleneck(
        "resnet101",
        D101,
        _params("44.5", W8),
        _flops("7.8", X_101),
        timm="resnet101",
    ),
    _bottleneck("resnet101_caffe", D101, _flops("7.6", R1), stride_in_first=True),
    _bottleneck("resnet101_1x100d", D101, _flops("15", X_TWICE), d=100),
    _bottleneck("resnet152", D152, _params("60.2", W8), timm="resnet152"),
    _bottleneck("resnet152_caffe", D152, _flops("11.3", R1), stride_in_first=True),
    _bottleneck("preact_resnet200", D200, _params("64.7", W8), _flops("15", X_TWICE), preact=True),
    # Wide ResNet
    _basic("wrn18_1", D18, _params("11.7", W7), timm="resnet18"),
    _basic("wrn18_1.5", D18, _params("25.9", W7), width=1.5),
    _basic("wrn18_2", D18, _params("45.6", W7), width=2),
    _basic("wrn18_3", D18, _params("101.8", W7), width=3),
    _basic("wrn34_1", D34, _params("21.8", W7), timm="resnet34"),
    _basic("wrn34_1.5", D34, _params("48.6", W7), width=1.5),
    _basic("wrn34_2", D34, _params("86.0", W7), width=2),
    _bottleneck("wrn50_2_bottleneck", D50, _params("68.9", W8), d=128, timm="wide_resnet50_2"),
    _bottleneck("wrn101_2_bottleneck", D101, d=128, timm="wide_resnet101_2"),
    # ResNeXt
    _bottleneck("resnext50_1x64d", D50, _weights("25.5", X1), timm="resnet50"),
    _bottleneck("resnext50_2x40d", D50, cardinality=2, d=40),
    _bottleneck("resnext50_4x24d", D50, cardinality=4, d=24),
    _bottleneck("resnext50_8x14d", D50, cardinality=8, d=14),
    _bottleneck(
        "resnext50_32x4d",
        D50,
        _weights("25.0", X1),
        _flops("4.2", X1),
        cardinality=32,
        d=4,
        timm="resnext50_32x4d",
    ),
    _bottleneck("resnext50_32x4d_plain", D50, cardinality=32, d=4, shortcut="none"),
    _bottleneck("resnext101_1x64d", D101, _flops("7.8", X_101), timm="resnet101"),
    _bottleneck("resnext101_2x40d", D101, cardinality=2, d=40),
    _bottleneck("resnext101_4x24d", D101, cardinality=4, d=24),
    _bottleneck("resnext101_8x14d", D101, cardinality=8, d=14),
    _bottleneck("resnext101_32x4d", D101, _flops("7.8", X_101), cardinality=32, d=4, timm="resnext101_32x4d"),
    _bottleneck("resnext101_2x64d", D101, _flops("15", X_TWICE), cardinality=2, d=64),
    _bottleneck(
        "resnext101_64x4d",
        D101,
        _flops("15", X_TWICE, "said of four networks together: about 15"),
        cardinality=64,
        d=4,
        timm="resnext101_64x4d",
    ),
)

_CIFAR = (
    # ResNet: 6n+2 layers
    *(
        _cifar(f"cifar_resnet{depth}", depth, _params(params, R6), shortcut="A")
        for depth, params in ((20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7"), (1202, "19.4"))
    ),
    *(_cifar(f"cifar_plain{depth}", depth, shortcut="none") for depth in (20, 32, 44, 56, 110, 1202)),
    # Pre-activation ResNet: the bottlenecks have 9n+2 layers
    _cifar("cifar_preact_resnet110", 110, _params("1.7", W5), shortcut="A", preact=True),
    _cifar("cifar_preact_resnet164", 164, _params("1.7", W5), kernels=BOTTLENECK, preact=True, stride_in_first=True),
    _cifar(
        "cifar_preact_resnet1001", 1001, _weights("10.2", W5), kernels=BOTTLENECK, preact=True, stride_in_first=True
    ),
    # Wide ResNet: the types of block, the deepening factor, the widths
    _cifar_wrn("cifar_wrn40_2_b131", _params("1.4", W2, _wrn_of_figure(58, 6, "b131"))),
    _cifar_wrn("cifar_wrn58_2_b131", _params("1.4", W2)),
    _cifar_wrn("cifar_wrn40_2_b31", _params("1.2", W2)),
    _cifar_wrn("cifar_wrn40_2_b13", _params("1.3", W2)),
    _cifar_wrn("cifar_wrn40_2_b311", _params("1.3", W2, _wrn_of_figure(58, 6, "b311"))),
    _cifar_wrn("cifar_wrn58_2_b311", _params("1.3", W2)),
    _cifar_wrn("cifar_wrn28_2", _params("1.5", W2)),
    _cifar_wrn("cifar_wrn22_2_b313", _params("1.1", W2, _wrn_of_figure(31, 3, "b313"))),
    _cifar_wrn("cifar_wrn31_2_b313", _params("1.1", W2)),
    _cifar_wrn("cifar_wrn40_2_b3", _params("2.2", W3)),
    _cifar_wrn("cifar_wrn40_2", _params("2.2", W3)),
    _cifar_wrn("cifar_wrn40_2_b333", _params("2.2", W3)),
    _cifar_wrn("cifar_wrn40_2_b3333", _params("2.2", W3)),
    *(
        _cifar_wrn(f"cifar_wrn{depth}_{width}", _params(params, W4))
        for depth, width, params in (
            (40, 1, "0.6"),
            (40, 4, "8.9"),
            (40, 8, "35.7"),
            (28, 10, "36.5"),
            (28, 12, "52.5"),
            (22, 8, "17.2"),
            (22, 10, "26.8"),
            (16, 8, "11.0"),
            (16, 10, "17.1"),
        )
    ),
    _cifar_wrn("cifar_wrn16_4"),
    _cifar_wrn("cifar_wrn52_1"),
    _cifar_wrn("cifar_wrn40_10", _params("56", "Wide ResNet, section 3")),
    # ResNeXt
    _cifar_resnext(8, 64, _weights("34.4", X7)),
    _cifar_resnext(16, 64, _weights("68.1", X7)),
    *(_cifar_resnext(c, d) for c, d in ((1, 64), (2, 64), (4, 64), (1, 128), (1, 192), (1, 256))),  # Fig. 7
    *(_cifar_resnext(c, d, small=True) for c, d in ((1, 16), (4, 6))),  # of equal complexity
)

_VGG = (
    VGGSpec("vgg16", (_flops("15.3", "ResNet, section 4.1"),)),
    VGGSpec("vgg19", (_flops("19.6", "ResNet, section 3.3"),)),
)

CATALOGUE: dict[str, NetworkSpec] = {row.name: row for row in (*_IMAGENET, *_CIFAR, *_VGG)}


def get_spec(name: str) -> NetworkSpec:
    """The catalogue's row of that name, or the Wide ResNet that the name describes (backbones/wide.py).

    NAME_form_a and NAME_form_b are networks of bottlenecks that are written as in ResNeXt's Fig. 3 (a) and (b)
    (backbones/forms.py).

    Raises:
        InputError: no network has that name; the message suggests similar names.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.startswith(CIFAR_WRN):
        return parse_cifar_wrn(name)
    if form := re.fullmatch(r"(.+)_form_([ab])", name):
        return _in_form(get_spec(form[1]), form[2])
    similar = [row for row in CATALOGUE if row.startswith(name)] or difflib.get_close_matches(name, CATALOGUE)
    hint = f"did you mean {' or '.join(similar[:3])}? " if similar else ""
    raise InputError(f"unknown arch {name!r}: {hint}tools/complexity.py lists all networks")


def _in_form(spec: NetworkSpec, form: Form) -> ArchSpec:
    """The network in another form of its blocks. InputError if its blocks have no such form."""
    try:
        if isinstance(spec, ArchSpec):
            return dataclasses.replace(spec, name=f"{spec.name}_form_{form}", form=form, published=(), timm="")
    except ValueError:
        pass
    raise InputError(
        f"{spec.name}_form_{form}: the blocks of {spec.name} have no such form; ResNeXt's networks have, such as "
        f"resnext50_32x4d_form_{form}"
    )
