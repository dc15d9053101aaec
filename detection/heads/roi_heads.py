"""What runs on each region: stage 5 (C4) or fully connected layers (FPN, VGG); and how detections follow from it.

ResNet's appendix is here: iterative box refinement, box voting, global context.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.resnet import build_stage, init_weights
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec, build_vgg
from detection.heads.locnet import Localiser
from detection.heads.postprocess import Candidates, select

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torchvision.ops import RoIPool

# Boxes of the regions of each image -> (R, C) features of all of them.
Pool = Callable[[list[Boxes]], Tensor]


class RegionHeads:
    """What RoI heads share here: training on sampled regions, and detection in several rounds.

    A subclass is one of detectron2's ROIHeads too, has a `box_predictor`, and says `box_features`.
    """

    def setup(
        self, *, global_context: bool, refinements: int, voting: float, localiser: Localiser | None, loc_rounds: int
    ) -> None:
        """To be called by the constructor.

        Args:
            global_context: the features of the whole image stand beside those of each region (ResNet, appendix B).
            refinements: so many times boxes are pooled and regressed again at test (ResNet, appendix B: once).
            voting: IoU from which a box has a vote in the place of a detection; 0 for no voting.
            localiser: predicts where in a region's surroundings the object lies, in the place of regression at test.
            loc_rounds: so many times it moves the boxes.
        """
        self.global_context = global_context
        self.refinements = refinements
        self.voting = voting
        self.localiser = localiser
        self.loc_rounds = loc_rounds
        for module in self.modules():
            if isinstance(module, RoIPool):
                module.register_forward_pre_hook(_as_boxes)

    @staticmethod
    def options(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Arguments of `setup` from cfg."""
        return {
            "global_context": cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT,
            "refinements": cfg.TEST.BOX_REFINEMENTS,
            "voting": cfg.TEST.BOX_VOTING_IOU,
            "localiser": Localiser(cfg, input_shape) if cfg.MODEL.ROI_LOC_HEAD.MODE else None,
            "loc_rounds": cfg.MODEL.ROI_LOC_HEAD.ROUNDS,
        }

    @classmethod
    def with_options(cls, arguments: dict, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """detectron2's arguments of the constructor and `region_options`; with context the predictor takes twice C."""
        options = cls.options(cfg, input_shape)
        if options["global_context"]:
            channels = arguments["box_predictor"].cls_score.in_features
            arguments["box_predictor"] = FastRCNNOutputLayers(cfg, ShapeSpec(channels=2 * channels))
        return arguments | {"region_options": options}

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C) of the regions of all images."""
        raise NotImplementedError

    def region_features(self, features: dict[str, Tensor], boxes: list[Boxes], sizes: list[tuple[int, int]]) -> Tensor:
        """What the predictor takes, (R, C), or (R, 2 C) with global context.

        Args:
            features: maps of the backbone.
            boxes: regions of each image, in pixels.
            sizes: height and width of each image.
        """
        x = self.box_features(features, boxes)
        if not self.global_context:
            return x
        whole = [Boxes(b.tensor.new_tensor([[0, 0, w, h]])) for b, (h, w) in zip(boxes, sizes, strict=True)]
        context = self.box_features(features, whole)
        counts = torch.tensor([len(b) for b in boxes], device=x.device)
        return torch.cat([x, context.repeat_interleave(counts, dim=0)], dim=1)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """As detectron2's ROIHeads: losses in training, else detections."""
        sizes = images.image_sizes
        if not self.training:
            pool = functools.partial(self.region_features, features, sizes=sizes)
            locate = self.localiser and functools.partial(self.localiser, features)
            return self.detect(proposals, lambda boxes: pool(boxes), locate), {}
        sampled = self.label_and_sample_proposals(proposals, targets)
        x = self.region_features(features, [p.proposal_boxes for p in sampled], sizes)
        losses = self.box_predictor.losses(self.box_predictor(x), sampled)
        if self.localiser:
            losses |= self.localiser.losses(features, [p.proposal_boxes for p in sampled], targets)
        return sampled, losses

    def detect(self, proposals: list[Instances], pool: Pool, locate: Callable | None) -> list[Instances]:
        """Detections of each image.

        Args:
            proposals: of each image, with `proposal_boxes`.
            pool: gives the features of any boxes.
            locate: `Localiser.forward` with the images' features; None where there is no localiser.
        """
        predictor: FastRCNNOutputLayers = self.box_predictor
        sizes = [p.image_size for p in proposals]
        boxes, scores = self._predict([p.proposal_boxes for p in proposals], sizes, pool)
        start = [p.proposal_boxes.tensor for p in proposals] if locate else boxes
        threshold = predictor.test_score_thresh
        found = [Candidates.of_regions(b, s, size, threshold) for b, s, size in zip(start, scores, sizes, strict=True)]
        rounds = [found]
        if locate:
            for _ in range(self.loc_rounds):
                rounds.append(self._relocate(rounds[-1], sizes, pool, locate))
        else:
            for _ in range(self.refinements):
                refined = [best_boxes(b, s) for b, s in zip(boxes, scores, strict=True)]
                boxes, scores = self._predict(refined, sizes, pool)
                args = zip(boxes, scores, sizes, strict=True)
                rounds.append([Candidates.of_regions(b, s, size, threshold) for b, s, size in args])
        return [
            select(
                Candidates.cat(list(parts)), size, predictor.test_nms_thresh, predictor.test_topk_per_image, self.voting
            )
            for *parts, size in zip(*rounds, sizes, strict=True)
        ]

    def _predict(
        self, boxes: list[Boxes], sizes: list[tuple[int, int]], pool: Pool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Regressed boxes (R, 4 K) and probabilities (R, K + 1) of each image's regions."""
        regions = [Instances(size, proposal_boxes=b) for b, size in zip(boxes, sizes, strict=True)]
        predictions = self.box_predictor(pool(boxes))
        return (
            self.box_predictor.predict_boxes(predictions, regions),
            self.box_predictor.predict_probs(predictions, regions),
        )

    def _relocate(
        self, found: list[Candidates], sizes: list[tuple[int, int]], pool: Pool, locate: Callable
    ) -> list[Candidates]:
        """Each candidate where the localiser sees its class, scored there again (LocNet, section 2)."""
        nearly_all = [select(c, size, 0.95, _RELOCATED) for c, size in zip(found, sizes, strict=True)]
        moved = locate([n.pred_boxes for n in nearly_all], [n.pred_classes for n in nearly_all])
        for boxes, size in zip(moved, sizes, strict=True):
            boxes.clip(size)
        _, scores = self._predict(moved, sizes, pool)
        return [
            Candidates(b.tensor, s.gather(1, n.pred_classes[:, None])[:, 0], n.pred_classes)
            for b, s, n in zip(moved, scores, nearly_all, strict=True)
        ]


def _as_boxes(module: RoIPool, arguments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Features of the boxes' type: in mixed precision torchvision sees to it on GPUs, but not on CPUs."""
    features, boxes = arguments
    return features.to(boxes.dtype), boxes


# Candidates of an image that the localiser moves.
_RELOCATED = 300


def best_boxes(boxes: Tensor, scores: Tensor) -> Boxes:
    """Of each region the box of its best class: (R, 4 K) or (R, 4), and (R, K + 1) -> R boxes."""
    per_class = boxes.unflatten(1, (-1, 4))
    if per_class.shape[1] == 1:
        return Boxes(per_class[:, 0])
    best = scores[:, :-1].argmax(dim=1)
    return Boxes(per_class[torch.arange(len(boxes), device=boxes.device), best])


@ROI_HEADS_REGISTRY.register()
class ArchRes5ROIHeads(RegionHeads, Res5ROIHeads):
    """detectron2's Res5ROIHeads with stage 5 of the network that MODEL.BACKBONE.NAME names (ResNet, appendix A).

    detectron2's own builds a bottleneck whatever the backbone is. Per region: (N, C4, 14, 14) -> (N, C5, 7, 7) -> mean
    -> class scores and box deltas.
    """

    @configurable
    def __init__(self, *, region_options: dict, **kwargs):
        super().__init__(**kwargs)
        self.setup(**region_options)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return cls.with_options(super().from_config(cfg, input_shape), cfg, input_shape)

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        spec = spec_of_builder(cfg.MODEL.BACKBONE.NAME)
        if not isinstance(spec, ArchSpec):
            raise InputError(f"MODEL.ROI_HEADS.NAME: {spec.name} has no stage 5; see configs/faster_rcnn_vgg16.yaml")
        stage = build_stage(spec, "res5", functools.partial(get_norm, cfg.MODEL.RESNETS.NORM))
        init_weights(stage)
        return stage, spec.widths[-1]

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        return self._shared_roi_transform([features[f] for f in self.in_features], boxes).mean(dim=[2, 3])


@ROI_HEADS_REGISTRY.register()
class PooledROIHeads(RegionHeads, StandardROIHeads):
    """detectron2's StandardROIHeads (boxes only): regions pooled from one map or a pyramid, then MODEL.ROI_BOX_HEAD."""

    @configurable
    def __init__(self, *, region_options: dict, **kwargs):
        super().__init__(**kwargs)
        self.setup(**region_options)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return cls.with_options(super().from_config(cfg, input_shape), cfg, input_shape)

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        x = self.box_pooler([features[f] for f in self.box_in_features], boxes)
        return self.box_head(x).flatten(1)


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
