"""The catalogue in detectron2's BACKBONE_REGISTRY. Importing this module registers every network.

For a network A whose maps a feature pyramid can take: `build_A_backbone`, `build_A_fpn_backbone` (with P6 by pooling,
for Faster R-CNN) and `build_retinanet_A_fpn_backbone` (with P6 and P7 by convolution). For other networks of ImageNet's
image size (VGG): `build_A_backbone`. The builders read detectron2's own keys only: MODEL.RESNETS.OUT_FEATURES and
.NORM, MODEL.BACKBONE.FREEZE_AT, MODEL.FPN.*.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.interface import FeatureNetwork, NetworkSpec

from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn


class MapsOnly:
    """Mixin for a network: the forward pass returns feature maps, as detectron2 expects of a Backbone."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}, the maps named in `_out_features`."""
        maps = self.feature_maps(x)
        return {name: maps[name] for name in self._out_features}


@functools.cache
def _backbone_class(network: type[FeatureNetwork]) -> type:
    """A subclass of a network's class that is a detectron2 Backbone, so that parameters keep a classifier's names."""
    return type(f"{network.__name__}Backbone", (MapsOnly, network, Backbone), {"__doc__": network.__doc__})


def backbone_for_detectron2(
    arch: str | NetworkSpec,
    out_features: Sequence[str],
    norm: str = "BN",
    freeze_at: int = 0,
    residual_scale: float = 1.0,
) -> Backbone:
    """A network of the catalogue as detectron2 wants it: (N, 3, H, W) -> {name: (N, C, H/stride, W/stride)}.

    Args:
        arch: the network, or its name.
        out_features: names of the maps to return, such as "stem", "res2" … "res5". Stages past the last map are not
            built.
        norm: detectron2's name of a norm: "BN", "FrozenBN", "SyncBN", "GN", "LN". Networks without norms ignore `norm`.
        freeze_at: 0 freezes nothing, 1 the stem, 2 the stem and res2, … 5 all. Frozen BN becomes FrozenBatchNorm2d.
        residual_scale: factor of every block's branch at the start, as of `ResidualNet`.

    Raises:
        InputError: a name in `out_features` or the number `freeze_at` does not exist, the norm does not fit the
            network's channels, or a network without shortcuts gets a `residual_scale` below 1.
    """
    spec = get_spec(arch) if isinstance(arch, str) else arch
    maps = list(spec.channels)
    if not out_features or not set(out_features) <= set(maps):
        raise InputError(f"MODEL.RESNETS.OUT_FEATURES: {list(out_features)} must be names of {maps}")
    if not 0 <= freeze_at <= len(maps):
        raise InputError(f"MODEL.BACKBONE.FREEZE_AT: {freeze_at} is not in 0 to {len(maps)}")
    last = max(maps.index(name) for name in out_features)
    scaled = {} if residual_scale == 1 else {"residual_scale": residual_scale}
    try:
        network = _backbone_class(spec.network)(spec, None, functools.partial(get_norm, norm), last, **scaled)
    except ValueError as e:  # GN's 32 groups do not divide the 80 channels of resnext50_2x40d
        keys = f"NORM {norm}, RESIDUAL_SCALE {residual_scale}"
        raise InputError(f"MODEL.RESNETS: {keys} does not fit {spec.name}: {e}") from e
    network.freeze(freeze_at, FrozenBatchNorm2d.convert_frozen_batchnorm)
    # What `Backbone.output_shape` reads.
    network._out_features = list(out_features)
    network._out_feature_channels = {name: spec.channels[name] for name in out_features}
    network._out_feature_strides = {name: spec.strides[name] for name in out_features}
    return network


def _build_backbone(spec: NetworkSpec, cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    if input_shape.channels != 3:
        raise InputError(
            f"MODEL.PIXEL_MEAN: has {input_shape.channels} values, but {spec.name} takes images of 3 channels; give 3 "
            "values"
        )
    resnets = cfg.MODEL.RESNETS
    scale = resnets.get("RESIDUAL_SCALE", 1.0)  # detectron2's own configs do not have the key
    return backbone_for_detectron2(spec, resnets.OUT_FEATURES, resnets.NORM, cfg.MODEL.BACKBONE.FREEZE_AT, scale)


def _build_fpn(spec: NetworkSpec, cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    return _fpn(cfg, _build_backbone(spec, cfg, input_shape), LastLevelMaxPool())


def _build_retinanet_fpn(spec: NetworkSpec, cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    top = LastLevelP6P7(spec.channels["res5"], cfg.MODEL.FPN.OUT_CHANNELS)
    return _fpn(cfg, _build_backbone(spec, cfg, input_shape), top)


def _fpn(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
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
_SMALLEST_IMAGE = 224  # networks for smaller images (CIFAR's) have too small a stride for a detector


def spec_of_builder(name: str) -> NetworkSpec:
    """The network that the builder `name` (a value of MODEL.BACKBONE.NAME) makes.

    Raises:
        InputError: `name` is no builder of this module.
    """
    match = re.fullmatch(r"build_(?:retinanet_)?(.+?)(?:_fpn)?_backbone", name)
    spec = match and get_spec(match.group(1))
    if spec is None or name not in BACKBONE_REGISTRY:
        raise InputError(f"MODEL.BACKBONE.NAME: {name!r} builds no network of residet; use build_ARCH_backbone")
    return spec


def register_network(spec: NetworkSpec) -> None:
    """Adds a network to the catalogue and its builders to detectron2's registry.

    Raises:
        InputError: the catalogue has another network of that name.
    """
    if CATALOGUE.setdefault(spec.name, spec) is not spec:
        raise InputError(f"{spec.name}: the catalogue already has a network of that name; choose another name")
    if spec.input_size < _SMALLEST_IMAGE:
        return
    for pattern in _BUILDERS if spec.pyramid else list(_BUILDERS)[:1]:
        builder = functools.partial(_BUILDERS[pattern], spec)
        builder.__name__ = pattern.format(spec.name)
        BACKBONE_REGISTRY.register(builder)


for _spec in CATALOGUE.values():
    register_network(_spec)
