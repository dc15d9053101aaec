"""The C4 head for any network of the catalogue."""

from __future__ import annotations

import functools

from backbones.registry import spec_of_builder
from backbones.resnet import build_stage, init_weights

from detectron2.config import CfgNode
from detectron2.layers import get_norm
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn


@ROI_HEADS_REGISTRY.register()
class ArchRes5ROIHeads(Res5ROIHeads):
    """detectron2's Res5ROIHeads with stage 5 of the network that MODEL.BACKBONE.NAME names (ResNet, appendix A).

    detectron2's own builds a bottleneck whatever the backbone is. Per region: (N, C4, 14, 14) -> (N, C5, 7, 7) -> mean
    -> class scores and box deltas.
    """

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        stage = build_stage(spec, "res5", functools.partial(get_norm, cfg.MODEL.RESNETS.NORM))
        init_weights(stage)
        return stage, spec.widths[-1]
