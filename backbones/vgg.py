"""torchvision's VGG as a kind of network: the ResNet paper's detection tables compare ResNets with VGG-16."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from backbones.errors import InputError
from backbones.interface import FeatureNetwork, NetworkSpec, Norm, PublishedValue
from backbones.weights.naming import to_timm_vgg

import torchvision
from torch import Tensor, nn


class VGG(FeatureNetwork):
    """torchvision's VGG with its feature maps; parameters have torchvision's names and first values.

    Args:
        spec: the row of the catalogue.
        num_classes: outputs of the classifier; None leaves out the classifier, and the pooling before it.
        norm: not used, since the papers' VGG has no norms.
        stages: number of groups of convolutions to build after the first; None builds all five groups. A network with
            a classifier always has all groups in `features`.
        options: VGG has no options. An option that is set raises ValueError.
    """

    def __init__(
        self,
        spec: VGGSpec,
        num_classes: int | None = 1000,
        norm: Norm = nn.BatchNorm2d,
        stages: int | None = None,
        **options,
    ):
        super().__init__()
        if wrong := [name for name, value in options.items() if value]:
            raise ValueError(f"has no {' and no '.join(wrong)}")
        self.spec = spec
        vgg = torchvision.models.get_model(spec.name, weights=None, num_classes=num_classes or 1000)
        # A map ends before a pooling, so that "conv5" has stride 16, as in Faster R-CNN.
        poolings = [i for i, layer in enumerate(vgg.features) if isinstance(layer, nn.MaxPool2d)]
        groups = [range(*ends) for ends in itertools.pairwise([0, *poolings])]
        self._groups = groups[: None if stages is None else stages + 1]
        self.features = vgg.features[: self._groups[-1].stop]
        self.classifier = None
        if num_classes is not None:
            self.features, self.avgpool, self.classifier = vgg.features, vgg.avgpool, vgg.classifier

    @property
    def feature_groups(self) -> dict[str, tuple[str, ...]]:
        names = (tuple(f"features.{i}" for i in group) for group in self._groups)
        return dict(zip(self.spec.channels, names, strict=False))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"conv1": …, … "conv5": (N, 512, H/16, W/16)}; H/stride and W/stride are rounded down."""
        maps = {}
        for name, group in zip(self.spec.channels, self._groups, strict=False):
            x = maps[name] = self.features[group.start : group.stop](x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@dataclass(frozen=True)
class VGGSpec(NetworkSpec):
    """A VGG network. `NetworkSpec` documents the attributes."""

    name: str
    published: tuple[PublishedValue, ...] = ()

    network: ClassVar[type[FeatureNetwork]] = VGG
    # One map for each of the five groups of convolutions: the group's last map, before the pooling.
    channels: ClassVar[dict[str, int]] = {"conv1": 64, "conv2": 128, "conv3": 256, "conv4": 512, "conv5": 512}
    strides: ClassVar[dict[str, int]] = {"conv1": 1, "conv2": 2, "conv3": 4, "conv4": 8, "conv5": 16}
    num_classes: ClassVar[int] = 1000
    input_size: ClassVar[int] = 224
    last_layer: ClassVar[str] = "classifier.6"
    classifier_prefix: ClassVar[str] = "classifier."
    has_norms: ClassVar[bool] = False
    region_layers: ClassVar[dict[str, str]] = {"classifier.": "roi_heads.box_head.classifier."}

    @property
    def timm(self) -> str:
        return self.name

    def build_fully_connected(self, channels: int, height: int, width: int) -> nn.Sequential:
        """fc6 and fc7 with their ReLU and dropout: (R, 512 * 7 * 7) -> (R, 4096) for R regions."""
        if (channels, height, width) != (512, 7, 7):
            raise InputError(
                f"MODEL.ROI_BOX_HEAD: fc6 of {self.name} takes 512 channels of 7 x 7, not {channels} of {height} x "
                f"{width}; see configs/faster_rcnn_vgg16.yaml"
            )
        return self.build(self.num_classes).classifier[:-1]

    def to_timm(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return to_timm_vgg(state)
