"""RoI heads for C4 (stage 5 runs on each region) and for FPN and VGG (fully connected layers run on each region).

Shapes: R regions of all images together.
"""

from __future__ import annotations

import functools

from backbones.registry import spec_of_builder
from backbones.resnet import init_weights
from detection.heads.region_heads import RegionHeads

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import Res5ROIHeads, StandardROIHeads, build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes
from torch import Tensor, nn


@ROI_HEADS_REGISTRY.register()
class ArchRes5ROIHeads(RegionHeads, Res5ROIHeads):
    """detectron2's Res5ROIHeads with stage 5 of the network that MODEL.BACKBONE.NAME names (ResNet, appendix A).

    detectron2's own class builds stage 5 of bottlenecks for every backbone.

    Pooled regions (R, C4, 14, 14) -> stage 5 (R, C5, 7, 7) -> mean over the pixels (R, C5) -> class scores and box
    deltas. C4 and C5 are the channels of stages 4 and 5.
    """

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Module, int]:
        """Stage 5, and the number of features that the predictor takes for a region."""
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        stage = spec.build_region_stage(functools.partial(get_norm, cfg.MODEL.RESNETS.NORM))
        init_weights(stage, cfg.MODEL.RESNETS.RESIDUAL_SCALE)
        return stage, cls.predictor_channels(cfg, spec.channels["res5"])

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        return self._shared_roi_transform([features[f] for f in self.in_features], boxes).mean(dim=[2, 3])


@ROI_HEADS_REGISTRY.register()
class PooledROIHeads(RegionHeads, StandardROIHeads):
    """detectron2's StandardROIHeads with residet's options; boxes only, no masks and keypoints.

    Regions are pooled from one map or from a pyramid; then MODEL.ROI_BOX_HEAD runs on each region.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """As in detectron2, but the predictor takes twice as many features with global context."""
        names, head = cfg.MODEL.ROI_HEADS.IN_FEATURES, cfg.MODEL.ROI_BOX_HEAD
        scales = tuple(1 / input_shape[name].stride for name in names)
        size = head.POOLER_RESOLUTION
        pooler = ROIPooler(size, scales, head.POOLER_SAMPLING_RATIO, head.POOLER_TYPE)
        box_head = build_box_head(cfg, ShapeSpec(channels=input_shape[names[0]].channels, height=size, width=size))
        output = box_head.output_shape
        features = output.channels * (output.height or 1) * (output.width or 1)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=cls.predictor_channels(cfg, features))),
        }

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        x = self.box_pooler([features[f] for f in self.box_in_features], boxes)
        return self.box_head(x).flatten(1)


@ROI_BOX_HEAD_REGISTRY.register()
class VGGBoxHead(nn.Module):
    """The layers fc6 and fc7 of VGG with their dropout, as in Faster R-CNN: (R, 512, 7, 7) -> (R, 4096).

    Args:
        cfg: config whose MODEL.BACKBONE.NAME names the VGG network.
        input_shape: channels, height and width of a pooled region.
    """

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec):
        super().__init__()
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        self.classifier = spec.build_fully_connected(input_shape.channels, input_shape.height, input_shape.width)

    @property
    def output_shape(self) -> ShapeSpec:
        """Number of features of a region, as `channels`."""
        return ShapeSpec(channels=self.classifier[-3].out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled regions (R, 512, 7, 7) -> features (R, 4096)."""
        return self.classifier(x.flatten(1))
