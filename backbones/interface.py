"""What a network offers, so that pretraining, detectors, weights and tables can use it without knowing its kind.

A kind of network is one file with two classes: a `NetworkSpec`, which is a row of the catalogue, and a
`FeatureNetwork`, the module that is built from the row. `ArchSpec` (spec.py) and `ResidualNet` (resnet.py) are one
kind, `VGGSpec` and `VGG` (vgg.py) are another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from backbones.errors import InputError

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes the normalisation layer of that many channels, e.g. `nn.BatchNorm2d`."""


@dataclass(frozen=True)
class PublishedValue:
    """A size that a paper prints for a network.

    Attributes:
        quantity: "params" and "weights" (params without those of norms) in millions, "flops" (multiply-adds of
            convolutions and classifier for one image of the papers' size) in billions.
        value: the figure as the paper prints it, so that its digits tell its precision.
        source: paper and table or section.
        differs: why the figure cannot be right for the network that the paper describes; empty where it is right.
    """

    quantity: Literal["params", "weights", "flops"]
    value: str
    source: str
    differs: str = ""


class FeatureNetwork(nn.Module, ABC):
    """A classifier that also gives its feature maps. `NetworkSpec.build` calls the constructor.

    Args:
        spec: the row of the catalogue to build.
        num_classes: outputs of the classifier; None leaves the classifier out.
        norm: makes the norm layers, in networks that have some.
        stages: number of entries of `feature_groups`, after the stem, to build; None builds all.
        options: switches of this kind of network. A switch that the kind lacks raises ValueError if it is set.
    """

    spec: NetworkSpec

    @property
    @abstractmethod
    def feature_groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the submodules that make each feature map, from input to output, by the name of the map."""

    @abstractmethod
    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}, with C and stride as the spec declares them."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes) logits."""

    def freeze(self, count: int, convert: Callable[[nn.Module], nn.Module] = lambda module: module) -> None:
        """Takes the parameters of the first `count` entries of `feature_groups` out of training.

        Args:
            count: number of entries; 0 freezes nothing, 1 the stem.
            convert: takes each frozen submodule and returns its replacement (such as a copy with frozen norms).
        """
        for names in list(self.feature_groups.values())[:count]:
            for name in names:
                module = self.get_submodule(name).requires_grad_(False)
                self.set_submodule(name, convert(module))


class NetworkSpec(ABC):
    """A row of the catalogue: what the network is called, what it declares, and how it is built.

    Attributes:
        name: the catalogue's name for the network.
        published: sizes that papers print.
        timm: the network's name in timm, and in torchvision where torchvision has the network; "" where timm lacks it.
        network: the class that `build` instantiates.
        channels: channels of every feature map, by the map's name, from input to output.
        strides: input pixels per feature map pixel, by the map's name.
        num_classes: outputs of the classifier in the papers.
        input_size: side of the training images in the papers, in pixels.
        last_layer: name of the linear layer whose outputs are the classes.
        classifier_prefix: what the names of the parameters after the feature maps begin with.
        region_layers: parameters of the classifier network that can run on each region of a detector: what their names
            begin with -> what the names begin with in the detector.
        summary: the blocks in short, for tables.
        num_blocks: number of residual blocks.
        variant: what tells the network apart from others with the same parameters.
        stride_in_first: the stride is in the first convolution of a block, as in the Caffe weights of ResNet's authors.
        has_norms: the network has norm layers.
        norm_follows_convolutions: every convolution has a norm behind it, before ReLU and addition.
        fully_convolutional: the classifier is one linear layer `fc` on the mean of the last map, so that it can be
            applied at every place of the map.
        in_detectron2: detectron2's own ResNet can be configured as this network.
    """

    name: str
    published: tuple[PublishedValue, ...]
    timm: str
    network: type[FeatureNetwork]
    channels: Mapping[str, int]
    strides: Mapping[str, int]
    num_classes: int
    input_size: int
    last_layer: ClassVar[str]
    classifier_prefix: ClassVar[str]
    region_layers: ClassVar[Mapping[str, str]] = {}
    summary: str = ""
    num_blocks: int = 0
    variant: tuple = ()
    stride_in_first: bool = False
    has_norms: ClassVar[bool] = True
    norm_follows_convolutions: bool = False
    fully_convolutional: ClassVar[bool] = False
    in_detectron2: bool = False

    @property
    def pyramid(self) -> bool:
        """Whether a feature pyramid can stand on the network: maps res2 to res5 at strides 4 to 32."""
        return all(self.strides.get(name) == stride for name, stride in PYRAMID.items())

    def build(self, num_classes: int | None = None, **options) -> FeatureNetwork:
        """The network, freshly initialised: (N, 3, H, W) -> (N, num_classes).

        Args:
            num_classes: outputs of the classifier; None leaves the classifier out.
            options: further arguments of `network`. False and None mean that an option is not wanted.

        Raises:
            InputError: the network has no such option, or the options do not go together.
        """
        try:
            wanted = {name: value for name, value in options.items() if value is not None and value is not False}
            return self.network(self, num_classes, **wanted)
        except ValueError as e:
            raise InputError(f"{self.name}: {e}") from e

    def build_region_stage(self, norm: Norm) -> nn.Module:
        """The last stage alone, as a C4 head runs it on each region: (R, C4, H, W) -> (R, C5, H/2, W/2).

        Raises:
            InputError: this kind of network has no such stage.
        """
        raise InputError(f"MODEL.ROI_HEADS.NAME: {self.name} has no stage 5; see configs/faster_rcnn_vgg16.yaml")

    def build_fully_connected(self, channels: int, height: int, width: int) -> nn.Sequential:
        """The hidden layers of the classifier, as they run on each region: (R, channels * height * width) -> (R, C).

        Raises:
            InputError: this kind of network has no such layers, or they take features of another size.
        """
        raise InputError(f"MODEL.ROI_BOX_HEAD.NAME: {self.name} has no fully connected layers to run on regions")

    def to_timm(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The network's state dict under timm's names."""
        return state


PYRAMID = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
