"""The catalogue in detectron2's BACKBONE_REGISTRY.

For every residual network A for ImageNet: `build_A_backbone`, `build_A_fpn_backbone` (with P6 by pooling, for Faster
R-CNN) and `build_retinanet_A_fpn_backbone` (with P6 and P7 by convolution); for VGG, `build_A_backbone`. Importing this
module registers them.
They read detectron2's own keys only: MODEL.RESNETS.OUT_FEATURES and .NORM, MODEL.BACKBONE.FREEZE_AT, MODEL.FPN.*.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.resnet import LAYER_OF_STAGE, ResidualNet
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec, build_vgg, vgg_groups

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn


class ResidualBackbone(ResidualNet, Backbone):
    """A network of the catalogue as detectron2 wants it: (N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}.

    Args:
        arch: the network, or its name.
        out_features: names of the maps to return, of "stem", "res2" … "res5". Stages past the last one are not built.
        norm: detectron2's name of a norm: "BN", "FrozenBN", "SyncBN", "GN", "LN".
        freeze_at: 0 freezes nothing, 1 the stem, 2 the stem and res2, … 5 all.

    Raises:
        InputError: a name in `out_features` or the number `freeze_at` does not exist, or the norm does not fit the
            network's channels.
    """

    def __init__(self, arch: str | ArchSpec, out_features: Sequence[str], norm: str = "BN", freeze_at: int = 0):
        spec = get_spec(arch) if isinstance(arch, str) else arch
        if not isinstance(spec, ArchSpec):
            raise InputError(f"{spec.name} is no residual network; take VGGBackbone")
        stages = _check(out_features, freeze_at, list(spec.channels))
        try:
            super().__init__(spec, None, functools.partial(get_norm, norm), stages)
        except ValueError as e:  # GN's 32 groups do not divide the 80 channels of resnext50_2x40d
            raise InputError(f"MODEL.RESNETS.NORM: {norm} does not fit {spec.name}: {e}") from e
        _declare(self, spec, out_features)
        self._freeze(freeze_at)

    def _freeze(self, freeze_at: int) -> None:
        frozen = []
        if freeze_at >= 1:
            frozen += ["conv1", "bn1"]
        frozen += [LAYER_OF_STAGE[stage] for stage in self.stage_names[: max(freeze_at - 1, 0)]]
        for name in frozen:
            module = getattr(self, name)
            module.requires_grad_(False)
            setattr(self, name, FrozenBatchNorm2d.convert_frozen_batchnorm(module))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.features(x)
        return {name: maps[name] for name in self._out_features}


class VGGBackbone(Backbone):
    """The convolutions of torchvision's VGG: (N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}, rounded down.

    The last pooling is left out, so that "conv5" has stride 16, as Faster R-CNN takes it.

    Args:
        spec: what to build.
        out_features: names of the maps to return, of "conv1" … "conv5".
        freeze_at: so many groups of convolutions are frozen.

    Raises:
        InputError: a name in `out_features` or the number `freeze_at` does not exist.
    """

    def __init__(self, spec: VGGSpec, out_features: Sequence[str], freeze_at: int = 0):
        super().__init__()
        last = _check(out_features, freeze_at, list(spec.channels))
        features = build_vgg(spec).features
        groups = list(vgg_groups(features).values())[: last + 1]
        self.features = features[: sum(map(len, groups))]
        for group in groups[:freeze_at]:
            group.requires_grad_(False)
        _declare(self, spec, out_features)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, group in vgg_groups(self.features).items():
            x = maps[name] = group(x)
        return {name: maps[name] for name in self._out_features}


def _check(out_features: Sequence[str], freeze_at: int, known: list[str]) -> int:
    """The index of the last map wanted."""
    if not out_features or not set(out_features) <= set(known):
        raise InputError(f"MODEL.RESNETS.OUT_FEATURES: {list(out_features)} must be names of {known}")
    if not 0 <= freeze_at <= len(known):
        raise InputError(f"MODEL.BACKBONE.FREEZE_AT: {freeze_at} is not in 0 to {len(known)}")
    return max(known.index(name) for name in out_features)


def _declare(backbone: Backbone, spec: ArchSpec | VGGSpec, out_features: Sequence[str]) -> None:
    """What `Backbone.output_shape` reads."""
    backbone._out_features = list(out_features)
    backbone._out_feature_channels = {name: spec.channels[name] for name in out_features}
    backbone._out_feature_strides = {name: spec.strides[name] for name in out_features}


def _build_backbone(spec: ArchSpec | VGGSpec, cfg, input_shape: ShapeSpec) -> ResidualBackbone | VGGBackbone:
    if input_shape.channels != 3:
        raise InputError(f"{spec.name} takes images of 3 channels, MODEL.PIXEL_MEAN has {input_shape.channels}")
    out_features, freeze_at = cfg.MODEL.RESNETS.OUT_FEATURES, cfg.MODEL.BACKBONE.FREEZE_AT
    if isinstance(spec, VGGSpec):
        return VGGBackbone(spec, out_features, freeze_at)
    return ResidualBackbone(spec, out_features, cfg.MODEL.RESNETS.NORM, freeze_at)


def _build_fpn(spec: ArchSpec, cfg, input_shape: ShapeSpec) -> FPN:
    return _fpn(cfg, _build_backbone(spec, cfg, input_shape), LastLevelMaxPool())


def _build_retinanet_fpn(spec: ArchSpec, cfg, input_shape: ShapeSpec) -> FPN:
    top = LastLevelP6P7(spec.channels["res5"], cfg.MODEL.FPN.OUT_CHANNELS)
    return _fpn(cfg, _build_backbone(spec, cfg, input_shape), top)


def _fpn(cfg, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


_BUILDERS = {
    "build_{}_backbone": _build_backbone,
    "build_{}_fpn_backbone": _build_fpn,
    "build_retinanet_{}_fpn_backbone": _build_retinanet_fpn,
}


def spec_of_builder(name: str) -> ArchSpec | VGGSpec:
    """The network that the builder `name` (a value of MODEL.BACKBONE.NAME) makes.

    Raises:
        InputError: it is not one of ours.
    """
    match = re.fullmatch(r"build_(?:retinanet_)?(.+?)(?:_fpn)?_backbone", name)
    spec = match and get_spec(match.group(1))
    if spec is None or name not in BACKBONE_REGISTRY:
        raise InputError(f"MODEL.BACKBONE.NAME: {name!r} builds no network of residet; use build_ARCH_backbone")
    return spec


def _register() -> None:
    for spec in CATALOGUE.values():
        if isinstance(spec, VGGSpec):
            patterns = ["build_{}_backbone"]
        else:
            patterns = list(_BUILDERS) if spec.stem == "imagenet" else []
        for pattern in patterns:
            builder = functools.partial(_BUILDERS[pattern], spec)
            builder.__name__ = pattern.format(spec.name)
            BACKBONE_REGISTRY.register(builder)


_register()
