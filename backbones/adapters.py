"""The networks in torchvision's detectors.

detectron2's take them by name once `backbones.registry` is imported; anything else takes `ResidualNet.features` and
`feature_info`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.resnet import LAYER_OF_STAGE, ResidualNet
from backbones.spec import ArchSpec
from backbones.weights.load import load_backbone
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD

from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


def backbone_for_torchvision(
    name: str,
    pretrained: str | Path | None = None,
    *,
    trainable_layers: int | None = None,
    returned_layers: Sequence[int] = (1, 2, 3, 4),
    extra_blocks: ExtraFPNBlock | None = None,
    out_channels: int = 256,
) -> BackboneWithFPN:
    """A feature pyramid for torchvision's FasterRCNN, RetinaNet, FCOS and MaskRCNN.

        backbone = backbone_for_torchvision("resnext101_32x4d", pretrained="model_final.pth")
        model = FasterRCNN(backbone, num_classes=91, image_mean=backbone.image_mean, image_std=backbone.image_std)

    RetinaNet and FCOS take `returned_layers=(2, 3, 4), extra_blocks=LastLevelP6P7(256, 256)`, as in torchvision.

    Args:
        name: a residual network for ImageNet.
        pretrained: a file that `loading.load_backbone` reads; without it the network is as initialised.
        trainable_layers: how many of stem and four stages train, counted from the last; 3 with a file, 5 without.
        returned_layers: stages that enter the pyramid, 1 to 4 for res2 to res5.
        extra_blocks: makes further levels; max pooling of the last by default.
        out_channels: channels of the pyramid.

    Returns:
        (N, 3, H, W) -> {"0": (N, out_channels, H/4, W/4), "1": …, "pool": …}, with frozen BN where a file was given,
        and with `image_mean` and `image_std`, of RGB pixels in 0 to 1, for the detector.

    Raises:
        InputError: the network is unknown or not for ImageNet, or the file does not fill it.
    """
    spec = get_spec(name)
    if not isinstance(spec, ArchSpec) or spec.stem != "imagenet":
        raise InputError(f"{name}: torchvision's detectors take a residual network for ImageNet")
    if pretrained is None:
        network, pixels = ResidualNet(spec, num_classes=None), {}
    else:
        network = load_backbone(pretrained, name, norm=FrozenBatchNorm2d)
        pixels = _as_rgb(network)
    if not returned_layers or list(returned_layers) != sorted(set(returned_layers) & {1, 2, 3, 4}):
        raise InputError(f"returned_layers: {tuple(returned_layers)} are not stages of 1 to 4, each once and in order")
    if trainable_layers is None:
        trainable_layers = 5 if pretrained is None else 3
    _freeze(network, trainable_layers)
    stages = [spec.stages[i - 1] for i in returned_layers]
    backbone = BackboneWithFPN(
        network,
        {LAYER_OF_STAGE[stage]: str(i) for i, stage in enumerate(stages)},
        [spec.channels[stage] for stage in stages],
        out_channels,
        extra_blocks,
    )
    backbone.image_mean = [v / 255 for v in pixels.get("mean", IMAGENET_MEAN)]
    backbone.image_std = [v / 255 for v in pixels.get("std", IMAGENET_STD)]
    return backbone


def _as_rgb(network: ResidualNet) -> dict:
    """What the file says of mean and std, for RGB. Torchvision gives RGB: a stem trained on BGR is turned round."""
    known = network.pretrained_cfg
    pixels = {k: known[k] for k in ("mean", "std") if k in known}
    if known.get("channel_order") != "BGR":
        return pixels
    network.conv1.weight.data = network.conv1.weight.data.flip(1)
    return {k: v[::-1] for k, v in pixels.items()}


def _freeze(network: nn.Module, trainable_layers: int) -> None:
    if not 0 <= trainable_layers <= 5:
        raise InputError(f"trainable_layers: {trainable_layers} is not in 0 to 5")
    parts = [[network.conv1, network.bn1], *([getattr(network, layer)] for layer in LAYER_OF_STAGE.values())]
    for part in parts[: 5 - trainable_layers]:
        for module in part:
            module.requires_grad_(False)
