"""What every RoI head of the project shares: training on sampled regions, and detection in several rounds.

The improvements of ResNet's appendix B are here: iterative box refinement, box voting, global context.

Shapes: R regions of all images together, C features of a region, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from detection.heads.locnet import Localiser
from detection.heads.postprocess import Candidates, select

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor
from torchvision.ops import RoIPool

# Regions of each image -> features (R, C) of all regions.
Pool = Callable[[list[Boxes]], Tensor]

_RELOCATED = 300  # candidates of an image that the localiser moves


@dataclass(frozen=True)
class RegionOptions:
    """What a RoI head does beyond detectron2's.

    Attributes:
        global_context: the features of the whole image stand beside those of each region (ResNet, appendix B).
        refinements: number of times that boxes are pooled and regressed again at test (ResNet, appendix B: once).
        voting: IoU from which a box has a vote in the place of a detection; 0 for no voting.
        loc_rounds: number of times that the localiser moves the boxes.
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
    """Base of the project's RoI heads. A subclass has a `box_predictor`, and says `box_features`.

    Args:
        options: what the head does beyond detectron2's.
        localiser: predicts where in the surroundings of a region its object lies, in the place of box regression at
            test; None for no localiser.
        kwargs: of detectron2's class that the subclass inherits too.
    """

    def __init__(self, *, options: RegionOptions, localiser: Localiser | None, **kwargs):
        super().__init__(**kwargs)
        self.options = options
        self.localiser = localiser
        self.cast_pooled_features()

    def cast_pooled_features(self) -> None:
        """Lets RoIPool work in mixed precision on CPUs; a subclass that adds poolers of its own calls it again."""
        for module in self.modules():
            if isinstance(module, RoIPool) and not module._forward_pre_hooks:
                module.register_forward_pre_hook(_cast_features)

    @staticmethod
    def region_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Arguments of this class's constructor from a config.

        Args:
            cfg: with detection's keys.
            input_shape: channels and strides of the backbone's maps.
        """
        localiser = Localiser(cfg, input_shape) if cfg.MODEL.ROI_LOC_HEAD.MODE else None
        return {"options": RegionOptions.from_config(cfg), "localiser": localiser}

    @staticmethod
    def predictor_channels(cfg: CfgNode, channels: int) -> int:
        """Features that the predictor takes for each region, where a region alone has `channels`."""
        return channels * 2 if cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT else channels

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Features (R, C) of the regions of all images.

        Args:
            features: maps of the backbone.
            boxes: regions of each image, in pixels.
        """
        raise NotImplementedError

    def region_features(self, features: dict[str, Tensor], boxes: list[Boxes], sizes: list[tuple[int, int]]) -> Tensor:
        """The predictor's input: (R, C), or (R, 2 C) with global context.

        Args:
            features: maps of the backbone.
            boxes: regions of each image, in pixels.
            sizes: height and width of each image.
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
            for _ in range(self.options.loc_rounds):
                rounds.append(self._relocate(rounds[-1], sizes, pool, locate))
        else:
            for _ in range(self.options.refinements):
                refined = [best_boxes(b, s) for b, s in zip(boxes, scores, strict=True)]
                boxes, scores = self._predict(refined, sizes, pool)
                args = zip(boxes, scores, sizes, strict=True)
                rounds.append([Candidates.of_regions(b, s, size, threshold) for b, s, size in args])
        return [
            select(
                Candidates.cat(list(parts)),
                size,
                predictor.test_nms_thresh,
                predictor.test_topk_per_image,
                self.options.voting,
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


def _cast_features(module: RoIPool, arguments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Gives features the type of the boxes. In mixed precision torchvision does so on GPUs, but not on CPUs."""
    features, boxes = arguments
    return features.to(boxes.dtype), boxes


def best_boxes(boxes: Tensor, scores: Tensor) -> Boxes:
    """The box of the best class of each region: boxes (R, 4 K) or (R, 4), scores (R, K + 1) -> R boxes."""
    per_class = boxes.unflatten(1, (-1, 4))
    if per_class.shape[1] == 1:
        return Boxes(per_class[:, 0])
    best = scores[:, :-1].argmax(dim=1)
    return Boxes(per_class[torch.arange(len(boxes), device=boxes.device), best])
