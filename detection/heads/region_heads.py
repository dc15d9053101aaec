"""The base of residet's RoI heads: trains on sampled regions and detects in several rounds.

All heads have the improvements of ResNet's appendix B: iterative box refinement, box voting, global context.

Shapes: R regions of all images together, C features of a region, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detection.heads.locnet import Localiser
from detection.heads.postprocess import Candidates, select

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

# A function: regions of each image -> features (R, C) of all regions.
Pool = Callable[[list[Boxes]], Tensor]
# A function: the R regions of each image -> regressed boxes (R, 4 K) and probabilities (R, K + 1) of each image.
Predict = Callable[[list[Boxes]], tuple[Sequence[Tensor], Sequence[Tensor]]]

_RELOCATED = 300  # the localiser moves at most this number of candidates of an image


@dataclass(frozen=True)
class RegionOptions:
    """Options of residet's RoI heads that detectron2's heads do not have.

    Attributes:
        global_context: whether the features of the whole image are joined to the features of each region (ResNet,
            appendix B).
        refinements: number of times that boxes are pooled and regressed again at test (ResNet, appendix B: once).
        voting: IoU with a detection from which a candidate takes part in box voting (see `postprocess.vote`); 0 turns
            voting off.
        loc_rounds: number of times that the localiser moves the boxes at test.
    """

    global_context: bool
    refinements: int
    voting: float
    loc_rounds: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> RegionOptions:
        """The options that MODEL and TEST of a config ask for."""
        return cls(
            global_context=cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT,
            refinements=cfg.TEST.BOX_REFINEMENTS,
            voting=cfg.TEST.BOX_VOTING_IOU,
            loc_rounds=cfg.MODEL.ROI_LOC_HEAD.ROUNDS,
        )


class RegionHeads(ROIHeads):
    """Base of residet's RoI heads. A subclass sets `box_predictor` and implements `box_features`.

    Args:
        options: options that detectron2's heads do not have.
        localiser: LocNet's network, which moves the boxes at test in the place of box regression; None for no
            localiser.
        kwargs: arguments of the detectron2 class that the subclass also inherits from; without one, of ROIHeads.
    """

    @configurable
    def __init__(self, *, options: RegionOptions, localiser: Localiser | None, **kwargs):
        super().__init__(**kwargs)
        self.options = options
        self.localiser = localiser
        self.pool_in_full_precision()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return super().from_config(cfg, input_shape) | cls.region_arguments(cfg, input_shape)

    def pool_in_full_precision(self) -> None:
        """Lets every pooler work in the type of the boxes. A subclass that adds poolers calls the method again.

        detectron2's ROIAlign rounds the boxes to the type of the features: in bfloat16 a corner moves by up to 4 pixels
        in an image of 1200. torchvision's RoIPool fails if the two types differ.
        """
        for module in self.modules():
            if isinstance(module, ROIPooler) and not module._forward_pre_hooks:
                module.register_forward_pre_hook(_cast_features)

    @staticmethod
    def region_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """The arguments `options` and `localiser` of the constructor, from a config.

        Args:
            cfg: config with residet's keys of detection.
            input_shape: channels and strides of the backbone's maps, by the map's name.
        """
        localiser = Localiser(cfg, input_shape) if cfg.MODEL.ROI_LOC_HEAD.MODE else None
        return {"options": RegionOptions.from_config(cfg), "localiser": localiser}

    @staticmethod
    def predictor_channels(cfg: CfgNode, channels: int) -> int:
        """Number of features that the predictor takes for a region; the region's own features are `channels`."""
        return channels * 2 if cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT else channels

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Features (R, C) of the regions of all images, without global context.

        Args:
            features: maps of the backbone, by name.
            boxes: regions of each image, in pixels.
        """
        raise NotImplementedError

    def region_features(self, features: dict[str, Tensor], boxes: list[Boxes], sizes: list[tuple[int, int]]) -> Tensor:
        """The predictor's input: (R, C), or (R, 2 C) with global context.

        Args:
            features: maps of the backbone, by name.
            boxes: regions of each image, in pixels.
            sizes: height and width of each image, in pixels.
        """
        x = self.box_features(features, boxes)
        if not self.options.global_context:
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
        """The sampled regions and the losses in training; the detections and {} at test. As detectron2's ROIHeads."""
        sizes = images.image_sizes
        if not self.training:
            pool = functools.partial(self.region_features, features, sizes=sizes)
            locate = self.localiser and functools.partial(self.localiser, features)
            return self.detect(proposals, functools.partial(self.predict, sizes=sizes, pool=pool), locate), {}
        sampled = self.label_and_sample_proposals(proposals, targets)
        x = self.region_features(features, [p.proposal_boxes for p in sampled], sizes)
        losses = self.box_predictor.losses(self.box_predictor(x), sampled)
        if self.localiser:
            losses |= self.localiser.losses(features, [p.proposal_boxes for p in sampled], targets)
        return sampled, losses

    def detect(self, proposals: list[Instances], predict: Predict, locate: Callable | None) -> list[Instances]:
        """The detections of each image.

        The first candidates are the proposals, after box regression if there is no localiser. Each round then moves the
        boxes, by the localiser or by box regression, and scores the moved boxes. Suppression and voting take the
        candidates of all rounds together.

        Args:
            proposals: proposals of each image, with `proposal_boxes`.
            predict: regions of each image -> boxes and probabilities: `predict` of these heads with the features of the
                images filled in, or a function of several heads.
            locate: `Localiser.forward` with the features of the images filled in; None without a localiser.
        """
        predictor: FastRCNNOutputLayers = self.box_predictor
        sizes = [p.image_size for p in proposals]
        boxes, scores = predict([p.proposal_boxes for p in proposals])
        start = [p.proposal_boxes.tensor for p in proposals] if locate else boxes
        threshold = predictor.test_score_thresh
        args = zip(start, scores, sizes, strict=True)
        rounds = [[Candidates.of_regions(b, s, size, threshold) for b, s, size in args]]
        if locate:
            for _ in range(self.options.loc_rounds):
                rounds.append(self._relocate(rounds[-1], sizes, predict, locate))
        else:
            for _ in range(self.options.refinements):
                refined = [best_boxes(b, s) for b, s in zip(boxes, scores, strict=True)]
                boxes, scores = predict(refined)
                args = zip(boxes, scores, sizes, strict=True)
                rounds.append([Candidates.of_regions(b, s, size, threshold) for b, s, size in args])
        return [
            select(
                Candidates.cat(list(image_rounds)),
                size,
                predictor.test_nms_thresh,
                predictor.test_topk_per_image,
                self.options.voting,
            )
            for *image_rounds, size in zip(*rounds, sizes, strict=True)
        ]

    def predict(
        self, boxes: list[Boxes], sizes: list[tuple[int, int]], pool: Pool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Regressed boxes (R, 4 K) and probabilities (R, K + 1) of the R regions of each image.

        Args:
            boxes: regions of each image, in pixels.
            sizes: height and width of each image, in pixels.
            pool: regions of each image -> the predictor's input.
        """
        regions = [Instances(size, proposal_boxes=b) for b, size in zip(boxes, sizes, strict=True)]
        predictions = self.box_predictor(pool(boxes))
        return (
            self.box_predictor.predict_boxes(predictions, regions),
            self.box_predictor.predict_probs(predictions, regions),
        )

    def _relocate(
        self, candidates: list[Candidates], sizes: list[tuple[int, int]], predict: Predict, locate: Callable
    ) -> list[Candidates]:
        """Moves each candidate to where the localiser finds its class, and scores it there (LocNet, section 2).

        Of candidates that overlap almost entirely, only the best is moved.
        """
        kept = [select(c, size, 0.95, _RELOCATED) for c, size in zip(candidates, sizes, strict=True)]
        moved = locate([k.pred_boxes for k in kept], [k.pred_classes for k in kept])
        for boxes, size in zip(moved, sizes, strict=True):
            boxes.clip(size)
        _, scores = predict(moved)
        return [
            Candidates(b.tensor, s.gather(1, k.pred_classes[:, None])[:, 0], k.pred_classes)
            for b, s, k in zip(moved, scores, kept, strict=True)
        ]


def _cast_features(module: ROIPooler, arguments: tuple[list[Tensor], list[Boxes]]) -> tuple[list[Tensor], list[Boxes]]:
    """Casts the feature maps to the type of the boxes."""
    maps, boxes = arguments
    return [feature_map.to(boxes[0].tensor.dtype) for feature_map in maps], boxes


def best_boxes(boxes: Tensor, scores: Tensor) -> Boxes:
    """The box of each region's best class, without the background.

    Args:
        boxes: (R, 4 K) pixels, a box for each class; or (R, 4), one box for all classes.
        scores: (R, K + 1) probabilities, the background's last.

    Returns:
        R boxes.
    """
    per_class = boxes.unflatten(1, (-1, 4))
    if per_class.shape[1] == 1:
        return Boxes(per_class[:, 0])
    best = scores[:, :-1].argmax(dim=1)
    return Boxes(per_class[torch.arange(len(boxes), device=boxes.device), best])
