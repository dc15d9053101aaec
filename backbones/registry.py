"""The catalogue in detectron2's BACKBONE_REGISTRY.

For every network A: `build_A_backbone`, `build_A_fpn_backbone` (with P6 by pooling, for Faster R-CNN) and
`build_retinanet_A_fpn_backbone` (with P6 and P7 by convolution). Importing this module registers them.
They read detectron2's own keys only: MODEL.RESNETS.OUT_FEATURES and .NORM, MODEL.BACKBONE.FREEZE_AT, MODEL.FPN.*.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.resnet import LAYER_OF_STAGE, ResidualNet
from backbones.spec import FEATURES, ArchSpec

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn


class ResidualBackbone(ResidualNet, Backbone):
    """A network of the catalogue as detectron2 wants it: (N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}.

    Args:
        spec: what to build.
        out_features: names of the maps to return, of "stem", "res2" … "res5". Stages past the last one are not built.
        norm: detectron2's name of a norm: "BN", "FrozenBN", "SyncBN", "GN", "LN".
        freeze_at: 0 freezes nothing, 1 the stem, 2 the stem and res2, … 5 all.

    Raises:
        InputError: a name in `out_features` or the number `freeze_at` does not exist.
    """

    def __init__(self, spec: ArchSpec, out_features: Sequence[str], norm: str = "BN", freeze_at: int = 0):
        unknown = [name for name in out_features if name not in FEATURES]
        if unknown or not out_features:
            raise InputError(f"MODEL.RESNETS.OUT_FEATURES: {list(out_features)} must be names of {list(FEATURES)}")
        if not 0 <= freeze_at <= len(FEATURES):
            raise InputError(f"MODEL.BACKBONE.FREEZE_AT: {freeze_at} is not in 0 to {len(FEATURES)}")
        stages = max(FEATURES.index(name) for name in out_features)
        super().__init__(spec, None, functools.partial(get_norm, norm), stages)
        self._out_features = list(out_features)
        self._out_feature_channels = {name: spec.channels[name] for name in out_features}
        self._out_feature_strides = {name: spec.strides[name] for name in out_features}
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

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


def _build_backbone(spec: ArchSpec, cfg, input_shape: ShapeSpec) -> ResidualBackbone:
    if input_shape.channels != 3:
        raise InputError(f"{spec.name} takes images of 3 channels, MODEL.PIXEL_MEAN has {input_shape.channels}")
    return ResidualBackbone(spec, cfg.MODEL.RESNETS.OUT_FEATURES, cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT)


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


def spec_of_builder(name: str) -> ArchSpec:
    """The network that the builder `name` (a value of MODEL.BACKBONE.NAME) makes.

    Raises:
        InputError: it is not one of ours.
    """
    match = re.fullmatch(r"build_(?:retinanet_)?(.+?)(?:_fpn)?_backbone", name)
    if match is None or (match.group(1) in CATALOGUE and name not in BACKBONE_REGISTRY):
        raise InputError(f"MODEL.BACKBONE.NAME: {name!r} builds no network of residet; use build_ARCH_backbone")
    return get_spec(match.group(1))


def _register() -> None:
    for spec in CATALOGUE.values():
        for pattern, build in _BUILDERS.items():
            builder = functools.partial(build, spec)
            builder.__name__ = pattern.format(spec.name)
            BACKBONE_REGISTRY.register(builder)


_register()
