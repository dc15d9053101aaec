"""ArchSpec -> network."""

from __future__ import annotations

from backbones.blocks import BLOCKS, Norm, conv
from backbones.spec import FEATURES, STAGES, ArchSpec

from torch import Tensor, nn

# Feature maps carry detectron2's names, modules torchvision's.
LAYER_OF_STAGE = {stage: f"layer{i}" for i, stage in enumerate(STAGES, start=1)}


def build_stage(spec: ArchSpec, stage: str, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """One stage alone: (N, C, H, W) -> (N, C', H/s, W/s), where s is 1 for res2 and 2 for the others.

    Args:
        stage: "res2" to "res5".
    """
    index = STAGES.index(stage)
    inputs = spec.channels[FEATURES[index]]  # FEATURES begins with the stem, so this is the map before
    outputs = spec.widths[index]
    block = BLOCKS[spec.block]
    blocks = []
    for i in range(spec.depths[index]):
        stride = 2 if i == 0 and stage != "res2" else 1
        blocks.append(
            block(inputs if i == 0 else outputs, spec.inner_widths[index], outputs, stride, spec.groups, norm)
        )
    return nn.Sequential(*blocks)


class ResidualNet(nn.Module):
    """A network of the catalogue, with torchvision's parameter names.

    Args:
        spec: what to build.
        num_classes: outputs of the classifier `fc`; None leaves it out.
        norm: makes a norm of so many channels.
        stages: how many of the stages, from res2 on; the rest is left out, and with it the classifier.
    """

    def __init__(
        self,
        spec: ArchSpec,
        num_classes: int | None = 1000,
        norm: Norm = nn.BatchNorm2d,
        stages: int = len(STAGES),
    ):
        super().__init__()
        if num_classes is not None and stages < len(STAGES):
            raise ValueError("a classifier needs all stages")
        self.spec = spec
        self.conv1 = conv(3, spec.stem_width, 7, 2)
        self.bn1 = norm(spec.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage_names = STAGES[:stages]
        for stage in self.stage_names:
            setattr(self, LAYER_OF_STAGE[stage], build_stage(spec, stage, norm))
        self.fc = None if num_classes is None else nn.Linear(spec.widths[-1], num_classes)
        init_weights(self)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"stem": (N, C, H/4, W/4), "res2": …, … "res5": (N, C, H/32, W/32)}."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {"stem": x}
        for stage in self.stage_names:
            x = maps[stage] = getattr(self, LAYER_OF_STAGE[stage])(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes) logits."""
        return self.fc(self.features(x)["res5"].mean(dim=(2, 3)))


def init_weights(module: nn.Module) -> None:
    """He initialisation of the convolutions (by fan-out, as fb.resnet.torch and torchvision have it)."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
