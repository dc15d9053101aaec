"""Builds a residual network from its `ArchSpec`."""

from __future__ import annotations

from backbones.blocks import Block, PreActBlock, conv
from backbones.forms import ConcatenatedBlock, SummedBlock
from backbones.interface import FeatureNetwork, Norm
from backbones.spec import FEATURES, STAGES, ArchSpec

from torch import Tensor, nn

# detectron2's name of a stage's feature map -> torchvision's name of the stage's module.
LAYER_OF_STAGE = {stage: f"layer{i}" for i, stage in enumerate(STAGES, start=1)}


def build_stage(spec: ArchSpec, stage: str, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """One stage of a network: (N, C, H, W) -> (N, C', H/s, W/s), where s is 1 for res2 and 2 for the other stages.

    The last stage of a pre-activation network ends with a norm and ReLU (Identity Mappings in Deep Residual Networks,
    appendix).

    Args:
        spec: the network.
        stage: name of the stage, one of `spec.stages`.
        norm: makes the norm layer for a number of channels.
    """
    index = spec.stages.index(stage)
    outputs = spec.widths[index]
    inputs = spec.channels[FEATURES[index]]  # the map before: FEATURES begins with the stem
    layers = nn.Sequential()
    for i in range(spec.depths[index]):
        stride = 2 if i == 0 and index > 0 else 1
        first = i == 0 and index == 0
        inner = spec.inner_widths[index]
        layers.append(_block_class(spec)(spec, outputs if i else inputs, inner, outputs, stride, norm, first))
    if spec.preact and stage == spec.stages[-1]:
        layers.add_module("norm", norm(outputs))
        layers.add_module("relu", nn.ReLU(inplace=True))
    return layers


def _block_class(spec: ArchSpec) -> type[Block]:
    if spec.preact:
        return PreActBlock
    return {"a": SummedBlock, "b": ConcatenatedBlock, "c": Block}[spec.form]


class ResidualNet(FeatureNetwork):
    """A residual network, with torchvision's parameter names.

    Args:
        spec: the row of the catalogue to build.
        num_classes: outputs of the classifier `fc`; None leaves the classifier out.
        norm: makes the norm layer for a number of channels.
        stages: number of stages to build, from res2 on; None builds all. A classifier needs all stages.
        residual_scale: factor of every branch at the start, from 0 to 1. The weights of a block's last norm (in a
            pre-activation network, of the last convolution) begin multiplied by it. 1 is what the papers do, 0
            torchvision's `zero_init_residual`.
        checkpoint_activations: training keeps only the inputs of the blocks, and computes the other activations again
            in the backward pass. Training needs less memory and one more forward pass.

    Raises:
        ValueError: a classifier without all stages, or a `residual_scale` below 1 in a network without shortcuts.
    """

    def __init__(
        self,
        spec: ArchSpec,
        num_classes: int | None = 1000,
        norm: Norm = nn.BatchNorm2d,
        stages: int | None = None,
        *,
        residual_scale: float = 1.0,
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        self.spec = spec
        self.stage_names = spec.stages[:stages]
        if num_classes is not None and self.stage_names != spec.stages:
            raise ValueError("a classifier needs all stages")
        large = spec.stem == "imagenet"
        self.conv1 = conv(3, spec.stem_width, 7, 2) if large else conv(3, spec.stem_width, 3)
        self.bn1 = norm(spec.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        for stage in self.stage_names:
            setattr(self, LAYER_OF_STAGE[stage], build_stage(spec, stage, norm))
        self.fc = None if num_classes is None else nn.Linear(spec.widths[-1], num_classes)
        init_weights(self, residual_scale)
        for block in self.modules():
            if isinstance(block, Block):
                block.checkpointed = checkpoint_activations

    build_stage = staticmethod(build_stage)

    @property
    def feature_groups(self) -> dict[str, tuple[str, ...]]:
        return {"stem": ("conv1", "bn1")} | {stage: (LAYER_OF_STAGE[stage],) for stage in self.stage_names}

    @property
    def feature_info(self) -> list[dict]:
        """Channels, stride and module of every map of `feature_maps`, in the form of timm's `feature_info`."""
        module = {"stem": "maxpool"} | LAYER_OF_STAGE
        return [
            {
                "name": name,
                "num_chs": self.spec.channels[name],
                "reduction": self.spec.strides[name],
                "module": module[name],
            }
            for name in ("stem", *self.stage_names)
        ]

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"stem": …, "res2": …, … "res5": (N, C, H/32, W/32)}, sizes rounded up.

        A CIFAR network ends with "res4" at stride 4. `feature_info` lists the channels and strides.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {"stem": x}
        for stage in self.stage_names:
            x = maps[stage] = getattr(self, LAYER_OF_STAGE[stage])(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes) logits."""
        return self.fc(self.feature_maps(x)[self.stage_names[-1]].mean(dim=(2, 3)))


def init_weights(module: nn.Module, residual_scale: float = 1.0) -> None:
    """Initialises the convolutions of `module` as He et al., by fan-out: N(0, 2 / (k * k * outputs)).

    The papers refer to Delving Deep into Rectifiers, which allows fan-in (Eqn. 10) and fan-out (Eqn. 14). torchvision
    and the public code of ResNet, pre-activation ResNet and ResNeXt use fan-out. The code of Wide ResNet on CIFAR uses
    fan-in.

    Args:
        module: a network or a stage.
        residual_scale: factor of every branch, as of `ResidualNet`.

    Raises:
        ValueError: a factor below 1 for blocks without shortcuts, whose results would become smaller and smaller.
    """
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    if residual_scale == 1:
        return
    for m in module.modules():
        if isinstance(m, Block):
            if m.plain:
                raise ValueError("a network without shortcuts cannot begin with smaller branches")
            last = "conv" if isinstance(m, PreActBlock) else "bn"
            getattr(m, f"{last}{m.size}").weight.data *= residual_scale
