"""The description of a residual network, as data.

A network is a stem, three or four stages (`res2`, `res3`, …) and a classifier. An `ArchSpec` holds everything that
differs between the networks of the three papers: the convolutions of a block, the number of blocks in a stage, their
widths, groups and shortcuts. backbones/catalogue.py has one `ArchSpec` for each network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from backbones.interface import FeatureNetwork, NetworkSpec, Norm, PublishedValue

from torch import nn

Form = Literal["a", "b", "c"]

STAGES = ("res2", "res3", "res4", "res5")
FEATURES = ("stem", *STAGES)


@dataclass(frozen=True)
class ArchSpec(NetworkSpec):
    """A residual network. `NetworkSpec` documents the attributes that all kinds of networks share.

    Attributes:
        name: the network's name in the catalogue, e.g. `resnext50_32x4d`.
        kernels: kernel sizes of the convolutions of a block, in order: (3, 3) is ResNet's basic block and Wide ResNet's
            B(3,3), (1, 3, 1) the bottleneck (ResNet, Fig. 5). `len(kernels)` is Wide ResNet's deepening factor l.
        depths: number of blocks in each stage.
        widths: output channels of each stage.
        inner_widths: for each stage, output channels of every convolution of a block except the last convolution.
        groups: groups of the 3x3 convolutions, ResNeXt's cardinality C.
        form: how the block is written, as part "a" (branches summed), "b" (branches concatenated early) or "c" (grouped
            convolution) of ResNeXt's Fig. 3. The three forms compute the same function.
        shortcut: the shortcut option (ResNet, section 3.3 and Table 3). "A" pads with zeros where the shape changes,
            "B" projects where the shape changes, "C" projects in every block, "none" has no shortcuts (a plain
            network).
        stride_in_first: True puts the stride of a block in its first convolution, as do the Caffe weights of the ResNet
            authors and Wide ResNet. False puts the stride in the first 3x3, as do ResNeXt, fb.resnet.torch and
            torchvision.
        preact: norm and ReLU before each convolution, not after (Identity Mappings in Deep Residual Networks).
        dropout: probability of dropping a value between the convolutions of a block (Wide ResNet, Fig. 1d).
        stem: "imagenet" (7x7 at stride 2, 3x3 max pooling at stride 2) or "cifar" (3x3).
        stem_width: output channels of the stem.
        network: the class to build, `ResidualNet`. Each row names the class: this module cannot import resnet.py.
    """

    name: str
    kernels: tuple[int, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    inner_widths: tuple[int, ...]
    groups: int = 1
    form: Form = "c"
    shortcut: Literal["A", "B", "C", "none"] = "B"
    stride_in_first: bool = False
    preact: bool = False
    dropout: float = 0.0
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_width: int = 64
    published: tuple[PublishedValue, ...] = ()
    timm: str = ""
    network: type[FeatureNetwork] = field(kw_only=True)

    last_layer: ClassVar[str] = "fc"
    classifier_prefix: ClassVar[str] = "fc."
    region_layers: ClassVar[dict[str, str]] = {"layer4.": "roi_heads.res5."}
    fully_convolutional: ClassVar[bool] = True

    def __post_init__(self):
        if self.form != "c" and (self.kernels != (1, 3, 1) or self.preact or self.stride_in_first or self.dropout):
            raise ValueError(
                f"{self.name}: ResNeXt's Fig. 3 has no form ({self.form}) of such a block; use form c, or kernels "
                "(1, 3, 1) without preact, stride_in_first and dropout"
            )

    @property
    def block(self) -> str:
        """The block in Wide ResNet's notation (section 2.1), e.g. "B(3,3)"."""
        return f"B({','.join(map(str, self.kernels))})"

    @property
    def summary(self) -> str:
        """The block and the number of blocks in each stage, e.g. "B(3,3) x 3, 4, 6, 3"."""
        return f"{self.block} x {', '.join(map(str, self.depths))}"

    @property
    def num_blocks(self) -> int:
        return sum(self.depths)

    @property
    def variant(self) -> tuple:
        return self.shortcut, self.stride_in_first

    @property
    def norm_follows_convolutions(self) -> bool:
        return not self.preact

    @property
    def in_detectron2(self) -> bool:
        # detectron2's ResNet has basic blocks and bottlenecks with projections, behind a 7x7 stem.
        return self.shortcut == "B" and self.stem == "imagenet" and not self.preact and self.form == "c"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the network's stages, from `res2` on."""
        return STAGES[: len(self.depths)]

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every feature map, by detectron2's name of the map."""
        return dict(zip(("stem", *self.stages), (self.stem_width, *self.widths), strict=True))

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per feature map pixel, by detectron2's name of the map."""
        first = 4 if self.stem == "imagenet" else 1
        return {"stem": first} | {stage: first * 2**i for i, stage in enumerate(self.stages)}

    @property
    def num_classes(self) -> int:
        """Outputs of the papers' classifier: 1000 for ImageNet, 10 for CIFAR-10."""
        return 1000 if self.stem == "imagenet" else 10

    @property
    def input_size(self) -> int:
        """Side of the papers' training images, in pixels."""
        return 224 if self.stem == "imagenet" else 32

    def build_region_stage(self, norm: Norm) -> nn.Module:
        return self.network.build_stage(self, self.stages[-1], norm)
