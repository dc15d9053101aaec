"""Puts a network of the catalogue into torchvision's detectors.

For detectron2, import `backbones.registry` and name the network in MODEL.BACKBONE.NAME. For other libraries, call
`feature_maps` of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.interface import FeatureNetwork
from backbones.spec import FEATURES
from backbones.weights.load import load_backbone
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool


def backbone_for_torchvision(
    name: str,
    pretrained: str | Path | None = None,
    *,
    trainable_layers: int | None = None,
    returned_layers: Sequence[int] = (1, 2, 3, 4),
    extra_blocks: ExtraFPNBlock | None = None,
    out_channels: int = 256,
) -> FeaturePyramid:
    """A feature pyramid for torchvision's FasterRCNN, RetinaNet, FCOS and MaskRCNN.

        backbone = backbone_for_torchvision("resnext101_32x4d", pretrained="model_final.pth")
        model = FasterRCNN(backbone, num_classes=91, image_mean=backbone.image_mean, image_std=backbone.image_std)

    RetinaNet and FCOS take `returned_layers=(2, 3, 4), extra_blocks=LastLevelP6P7(256, 256)`, as in torchvision.

    Args:
        name: a network with maps res2 to res5: every residual network for ImageNet.
        pretrained: a file or a name of weights that `load_backbone` takes; None leaves the network as initialised.
        trainable_layers: how many of the five layers (stem, res2 to res5) train, counted from res5 backwards. None
            means 3 if `pretrained` is given, else 5.
        returned_layers: stages that enter the pyramid, in order, 1 to 4 for res2 to res5.
        extra_blocks: makes further levels of the pyramid; None adds a max pooling of the last level.
        out_channels: channels of every level of the pyramid.

    Returns:
        the pyramid: (N, 3, H, W) -> {"0": (N, out_channels, H/4, W/4), "1": …, "pool": …}. With `pretrained`, all BN
        layers of the network are frozen. The attributes `image_mean` and `image_std`, for RGB pixels in 0 to 1, are
        the detector's arguments of the same names.

    Raises:
        InputError: the network is unknown or lacks the maps, an argument is out of range, or the file does not fill the
            network.
    """
    spec = get_spec(name)
    if not spec.pyramid:
        raise InputError(f"{name}: torchvision's detectors take a network with maps res2 to res5 at strides 4 to 32")
    if not returned_layers or list(returned_layers) != sorted(set(returned_layers) & {1, 2, 3, 4}):
        raise InputError(f"returned_layers: {tuple(returned_layers)}: give stages of 1 to 4, each once and in order")
    if pretrained is None:
        network, pixels = spec.build(stages=returned_layers[-1]), {}
    else:
        network = load_backbone(pretrained, name, norm=FrozenBatchNorm2d, stages=returned_layers[-1])
        pixels = _as_rgb(network)
    if trainable_layers is None:
        trainable_layers = 5 if pretrained is None else 3
    if not 0 <= trainable_layers <= len(FEATURES):
        raise InputError(f"trainable_layers: {trainable_layers} is not in 0 to {len(FEATURES)} ({', '.join(FEATURES)})")
    network.freeze(len(FEATURES) - trainable_layers)
    backbone = FeaturePyramid(network, [FEATURES[i] for i in returned_layers], out_channels, extra_blocks)
    backbone.image_mean = [v / 255 for v in pixels.get("mean", IMAGENET_MEAN)]
    backbone.image_std = [v / 255 for v in pixels.get("std", IMAGENET_STD)]
    return backbone


class FeaturePyramid(nn.Module):
    """A feature pyramid on a network. Parameters have the names of torchvision's BackboneWithFPN.

    Args:
        body: the network that makes the feature maps.
        maps: names of the feature maps that enter the pyramid, such as "res2".
        out_channels: channels of every level of the pyramid.
        extra_blocks: makes further levels of the pyramid; None adds a max pooling of the last level.
    """

    def __init__(
        self, body: FeatureNetwork, maps: Sequence[str], out_channels: int, extra_blocks: ExtraFPNBlock | None
    ):
        super().__init__()
        self.body = body
        self.maps = tuple(maps)
        channels = [body.spec.channels[name] for name in maps]
        self.fpn = FeaturePyramidNetwork(channels, out_channels, extra_blocks or LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"0": (N, out_channels, H/4, W/4), "1": …, "pool": …}."""
        features = self.body.feature_maps(x)
        return self.fpn({str(i): features[name] for i, name in enumerate(self.maps)})


def _as_rgb(network: FeatureNetwork) -> dict:
    """The file's pixel mean and std in RGB order. A stem trained on BGR pixels is changed in place to take RGB.

    torchvision's detectors give RGB pixels.
    """
    metadata = network.pretrained_cfg
    pixels = {k: metadata[k] for k in ("mean", "std") if k in metadata}
    if metadata.get("channel_order") != "BGR":
        return pixels
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    stem.weight.data = stem.weight.data.flip(1)
    return {k: v[::-1] for k, v in pixels.items()}
