"""What a residual network is made of, and the catalogue: one row a network.

A network is a stem and four stages, `res2` to `res5`. Everything that tells one network of the three papers from
another is data here: which block, how many a stage, how wide, in how many groups.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from backbones.errors import InputError

STAGES = ("res2", "res3", "res4", "res5")
FEATURES = ("stem", *STAGES)


@dataclass(frozen=True)
class ArchSpec:
    """A residual network for ImageNet-sized images.

    Attributes:
        name: the catalogue's name for it, e.g. `resnext50_32x4d`.
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1); ResNet, Fig. 5.
        depths: number of blocks in each stage.
        widths: output channels of each stage.
        inner_widths: output channels of the first convolution of the blocks of each stage; in a bottleneck, the
            width of its 3x3 convolution.
        groups: groups of the 3x3 convolution, ResNeXt's cardinality.
        stem_width: output channels of the 7x7 stem.
        paper_params: parameters in millions as the paper gives them, with its 1000-way classifier.
        source: where that figure stands.
    """

    name: str
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    inner_widths: tuple[int, int, int, int]
    groups: int = 1
    stem_width: int = 64
    paper_params: float | None = None
    source: str = ""

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every feature map, by detectron2's name for it."""
        return dict(zip(FEATURES, (self.stem_width, *self.widths), strict=True))

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per feature map pixel, by detectron2's name for it."""
        return dict(zip(FEATURES, (4, 4, 8, 16, 32), strict=True))


def _basic(name, depths, width=1, **paper) -> ArchSpec:
    """Basic blocks at `width` times ResNet's channels (Wide ResNet's k)."""
    widths = tuple(width * c for c in (64, 128, 256, 512))
    return ArchSpec(name, "basic", depths, widths, widths, **paper)


def _bottleneck(name, depths, groups=1, inner=64, **paper) -> ArchSpec:
    """Bottlenecks with 256 to 2048 outputs; `inner` is the width of the 3x3 convolution in res2."""
    inner_widths = tuple(inner * m for m in (1, 2, 4, 8))
    return ArchSpec(name, "bottleneck", depths, (256, 512, 1024, 2048), inner_widths, groups, **paper)


def _catalogue(*rows: ArchSpec) -> dict[str, ArchSpec]:
    return {row.name: row for row in rows}


CATALOGUE = _catalogue(
    _basic("resnet18", (2, 2, 2, 2), paper_params=11.7, source="Wide ResNet, Table 7"),
    _bottleneck("resnet50", (3, 4, 6, 3), paper_params=25.6, source="Wide ResNet, Table 8"),
    _bottleneck("resnet101", (3, 4, 23, 3), paper_params=44.5, source="Wide ResNet, Table 8"),
    _basic("wrn34_2", (3, 4, 6, 3), width=2, paper_params=86.0, source="Wide ResNet, Table 7"),
    _bottleneck("wrn50_2_bottleneck", (3, 4, 6, 3), inner=128, paper_params=68.9, source="Wide ResNet, Table 8"),
    _bottleneck("resnext50_32x4d", (3, 4, 6, 3), groups=32, inner=128, paper_params=25.0, source="ResNeXt, Table 1"),
    # The ResNeXt paper gives no parameter count for this one.
    _bottleneck("resnext101_32x4d", (3, 4, 23, 3), groups=32, inner=128),
)


def get_spec(name: str) -> ArchSpec:
    """The catalogue's row of that name.

    Raises:
        InputError: there is none; the message suggests the nearest.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"unknown arch {name!r}: {hint}Known are {', '.join(CATALOGUE)}")
