"""What a residual network is made of.

A network is a stem, three or four stages (`res2`, `res3`, …) and a classifier. Everything that tells one network of the
three papers from another is data here: which convolutions a block has, how many blocks a stage, how wide, in how many
groups, over which shortcuts. backbones/catalogue.py has the rows.
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
    """A residual network; `NetworkSpec` has the attributes that all kinds share.

    Attributes:
        name: the catalogue's name for it, e.g. `resnext50_32x4d`.
        kernels: kernel sizes of the convolutions of a block, in order: (3, 3) is ResNet's basic block and Wide ResNet's
            B(3,3), (1, 3, 1) the bottleneck (ResNet, Fig. 5). Their number is Wide ResNet's deepening factor l.
        depths: number of blocks in each stage.
        widths: output channels of each stage.
        inner_widths: output channels of the convolutions of a block but its last.
        groups: groups of the 3x3 convolutions, ResNeXt's cardinality C.
        form: which part of ResNeXt's Fig. 3 the block is written as: "a" (branches summed), "b" (concatenated early) or
            "c" (grouped convolution). All compute the same.
        shortcut: ResNet, section 3.3 and Table 3: "A" pads with zeros where the shape changes, "B" projects there, "C"
            projects in every block; "none" leaves the shortcuts out (a plain network).
        stride_in_first: stride in the first convolution of a block, as in the Caffe weights of the ResNet authors and
            in Wide ResNet; else in the first 3x3, as in ResNeXt, fb.resnet.torch and torchvision.
        preact: norm and ReLU before each convolution, not after (Identity Mappings in Deep Residual Networks).
        dropout: probability of dropping a value between the convolutions of a block (Wide ResNet, Fig. 1d).
        stem: "imagenet" (7x7 at stride 2, 3x3 max pooling at stride 2) or "cifar" (3x3).
        stem_width: output channels of the stem.
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
            raise ValueError(f"{self.name}: ResNeXt's Fig. 3 has no form ({self.form}) of such a block")

    @property
    def block(self) -> str:
        """The block as Wide ResNet writes it (section 2.1), e.g. "B(3,3)"."""
        return f"B({','.join(map(str, self.kernels))})"

    @property
    def summary(self) -> str:
        """Block and depths in short, e.g. "B(3,3) x 3, 4, 6, 3"."""
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
        """detectron2's ResNet takes basic blocks and bottlenecks with projections, behind a 7x7 stem."""
        return self.shortcut == "B" and self.stem == "imagenet" and not self.preact

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that it has."""
        return STAGES[: len(self.depths)]

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every feature map, by detectron2's name for it."""
        return dict(zip(("stem", *self.stages), (self.stem_width, *self.widths), strict=True))

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per feature map pixel, by detectron2's name for it."""
        first = 4 if self.stem == "imagenet" else 1
        return {"stem": first} | {stage: first * 2**i for i, stage in enumerate(self.stages)}

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier in the papers: ImageNet's 1000 or CIFAR-10's 10."""
        return 1000 if self.stem == "imagenet" else 10

    @property
    def input_size(self) -> int:
        """Side of the images it is trained on in the papers, in pixels."""
        return 224 if self.stem == "imagenet" else 32

    def build_region_stage(self, norm: Norm) -> nn.Module:
        return self.network.build_stage(self, self.stages[-1], norm)
