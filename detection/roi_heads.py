"""What runs on each region: stage 5 of any residual network, the fully connected layers of VGG."""

from __future__ import annotations

import functools

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.resnet import build_stage, init_weights
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec, build_vgg

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import Tensor, nn


@ROI_HEADS_REGISTRY.register()
class ArchRes5ROIHeads(Res5ROIHeads):
    """detectron2's Res5ROIHeads with stage 5 of the network that MODEL.BACKBONE.NAME names (ResNet, appendix A).

    detectron2's own builds a bottleneck whatever the backbone is. Per region: (N, C4, 14, 14) -> (N, C5, 7, 7) -> mean
    -> class scores and box deltas.
    """

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        if not isinstance(spec, ArchSpec):
            raise InputError(f"MODEL.ROI_HEADS.NAME: {spec.name} has no stage 5; see configs/faster_rcnn_vgg16.yaml")
        stage = build_stage(spec, "res5", functools.partial(get_norm, cfg.MODEL.RESNETS.NORM))
        init_weights(stage)
        return stage, spec.widths[-1]


@ROI_BOX_HEAD_REGISTRY.register()
class VGGBoxHead(nn.Module):
    """fc6 and fc7 of VGG, with their dropout, as Faster R-CNN has them: (N, 512, 7, 7) -> (N, 4096)."""

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec):
        super().__init__()
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        size = input_shape.channels, input_shape.height, input_shape.width
        if not isinstance(spec, VGGSpec) or size != (512, 7, 7):
            raise InputError(
                "MODEL.ROI_BOX_HEAD.NAME: VGGBoxHead takes 512 channels of 7 x 7 from a VGG backbone; "
                "see configs/faster_rcnn_vgg16.yaml"
            )
        self.classifier = build_vgg(spec).classifier[:-1]

    @property
    def output_shape(self) -> ShapeSpec:
        return ShapeSpec(channels=self.classifier[-3].out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.flatten(1))
