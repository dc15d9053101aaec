"""MultiPathNet (Zagoruyko et al., "A MultiPath Network for Object Detection"): the head of Wide ResNet's COCO system.

The head differs from Fast R-CNN's in three ways:

    foveal regions     it sees each region through four windows of 1, 1.5, 2 and 4 times the region's size
    skip connections   it pools each window from feature maps of several depths
    integral loss      it has several classifiers, each trained with another IoU at which a region is an object

Shapes: N regions of all images together, R regions of one image, U classifiers, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from backbones.errors import InputError
from detection.heads.region_heads import RegionHeads
from detection.heads.windows import scale_boxes

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cross_entropy
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, _log_classification_stats
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import matched_pairwise_iou
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLINGS = ("each", "once")  # values of MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING
FOVEAL = (1.0, 1.5, 2.0, 4.0)  # size of each window, in sizes of the region
# Number of maps that each window of FOVEAL is pooled from, counted from the deepest map: the skip connections.
DEPTHS = (3, 2, 2, 1)
_NORM = 1000.0  # factor of the joined features, which the normalisation has made small


class FovealTower(nn.Module):
    """The features of one window around each region.

    The window is pooled from each map, (N, C, S, S), normalised, joined over the maps, reduced by a 1x1 convolution
    and passed through two fully connected layers. The normalisation divides the features that come from one map by
    their L2 norm in each region, so that maps of all depths have the same weight.

    Args:
        scale: size of the window, in sizes of the region.
        names: names of the maps.
        input_shape: channels and strides of the backbone's maps, by the map's name.
        pooler_type: kind of RoI pooling, as of detectron2's ROIPooler.
        resolution: height and width S of the pooled features.
        sampling_ratio: sampling points in a pooled cell, as of detectron2's ROIPooler.
        conv_dim: channels after the 1x1 convolution.
        fc_dim: outputs of each fully connected layer.
    """

    def __init__(
        self,
        scale: float,
        names: list[str],
        input_shape: dict[str, ShapeSpec],
        pooler_type: str,
        resolution: int,
        sampling_ratio: int,
        conv_dim: int,
        fc_dim: int,
    ):
        super().__init__()
        self.scale = scale
        self.names = names
        self.poolers = nn.ModuleList(
            ROIPooler(resolution, [1 / input_shape[n].stride], sampling_ratio, pooler_type) for n in names
        )
        self.reduce = nn.Conv2d(sum(input_shape[n].channels for n in names), conv_dim, 1)
        self.fc = nn.Sequential(
            nn.Linear(conv_dim * resolution**2, fc_dim), nn.ReLU(), nn.Linear(fc_dim, fc_dim), nn.ReLU()
        )
        for layer in (self.reduce, self.fc[0], self.fc[2]):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Features (N, fc_dim) of all regions, from the backbone's maps and the regions of each image in pixels."""
        windows = [scale_boxes(b, self.scale) for b in boxes]
        pooled = [pool([features[n]], windows) for n, pool in zip(self.names, self.poolers, strict=True)]
        x = torch.cat([F.normalize(x.float().flatten(1)).view_as(x) for x in pooled], dim=1) * _NORM
        return self.fc(self.reduce(x).flatten(1))


class IntegralOutputLayers(FastRCNNOutputLayers):
    """Several classifiers of the same features and one box regression: MultiPathNet's integral loss.

    Each classifier has a threshold: the IoU with an object from which a region counts as the object.

    Training on regions that were sampled for one classifier (`gt_classifiers`, see `MultiPathROIHeads`): the losses are
    that classifier's cross entropy and the regression of the regions that it should call objects.
    Training on other regions: the loss of the classes is the mean of the classifiers' cross entropies. The loss of the
    boxes is a mean over the thresholds, too: for each threshold, the regions that count as objects are regressed.
    Test: a probability is the mean of the classifiers' probabilities.

    Args:
        input_shape: `channels` is the number of features of a region.
        thresholds: IoU of each classifier, 0.5 or more.
        kwargs: the other arguments of detectron2's FastRCNNOutputLayers.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, thresholds: tuple[float, ...], **kwargs):
        super().__init__(input_shape, **kwargs)
        self.thresholds = thresholds
        first = self.cls_score
        del self.cls_score
        self.cls_scores = nn.ModuleList(nn.Linear(first.in_features, first.out_features) for _ in thresholds)
        for layer in self.cls_scores:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        thresholds = tuple(cfg.MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS)
        return super().from_config(cfg, input_shape) | {"thresholds": thresholds}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the regions -> (N, U, K + 1) logits of the U classifiers, and (N, 4 K) box deltas."""
        return torch.stack([score(x) for score in self.cls_scores], dim=1), self.bbox_pred(x)

    def losses(self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]) -> dict[str, Tensor]:
        scores, deltas = predictions
        if all(p.has("gt_classifiers") for p in proposals):
            chosen = torch.cat([p.gt_classifiers for p in proposals])
            of_chosen = scores[torch.arange(len(chosen), device=chosen.device), chosen]
            return super().losses((of_chosen, deltas), proposals)
        labels = torch.cat([integral_labels(p, self.thresholds, self.num_classes) for p in proposals])
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        targets = torch.cat([(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals])
        _log_classification_stats(scores[:, 0], labels[:, 0])
        classifiers = zip(scores.unbind(1), labels.unbind(1), strict=True)
        losses = {
            "loss_cls": [cross_entropy(s, k) for s, k in classifiers],
            "loss_box_reg": [self.box_reg_loss(boxes, targets, deltas, k) for k in labels.unbind(1)],
        }
        return {name: torch.stack(x).mean() * self.loss_weight.get(name, 1.0) for name, x in losses.items()}

    def predict_probs(self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]) -> tuple[Tensor, ...]:
        """Probabilities of the classes, (R, K + 1) for each image: the mean over the classifiers."""
        return predictions[0].softmax(dim=-1).mean(dim=1).split([len(p) for p in proposals])


def integral_labels(proposals: Instances, thresholds: tuple[float, ...], background: int) -> Tensor:
    """The class that each of U classifiers should give to each sampled region of an image.

    Args:
        proposals: R sampled regions, with `gt_classes` and, in an image with objects, the matched `gt_boxes`.
        thresholds: IoU of each classifier.
        background: index of the background.

    Returns:
        (R, U): the class of the matched object where the IoU reaches the classifier's threshold, else the background.
    """
    labels = proposals.gt_classes[:, None].repeat(1, len(thresholds))
    if not proposals.has("gt_boxes"):  # an image without objects
        return labels
    overlap = matched_pairwise_iou(proposals.proposal_boxes, proposals.gt_boxes)
    short = overlap[:, None] < overlap.new_tensor(thresholds)
    return torch.where(short & (labels >= 0), background, labels)


@ROI_HEADS_REGISTRY.register()
class MultiPathROIHeads(RegionHeads):
    """MultiPathNet's head, on the last three maps of MODEL.ROI_HEADS.IN_FEATURES.

    IN_FEATURES goes from shallow to deep maps: the last three are conv3, conv4 and conv5 of the paper.

    Args:
        towers: the features of each window; the features of all windows are joined.
        box_predictor: joined features -> class scores and box deltas.
        matchers: label the regions for one classifier each, of which an iteration draws one; empty to sample with
            detectron2's matcher, for all classifiers together.
        kwargs: arguments of `RegionHeads`.
    """

    @configurable
    def __init__(self, *, towers: list[FovealTower], box_predictor: nn.Module, matchers: Sequence[Matcher], **kwargs):
        super().__init__(**kwargs)
        self.matchers = matchers
        self.towers = nn.ModuleList(towers)
        self.box_predictor = box_predictor
        self.pool_in_full_precision()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        names, head = list(cfg.MODEL.ROI_HEADS.IN_FEATURES), cfg.MODEL.ROI_BOX_HEAD
        if len(names) < max(DEPTHS):
            raise InputError(
                f"MODEL.ROI_HEADS.IN_FEATURES: {names} are too few maps; MultiPathROIHeads takes three, such as "
                "[res3, res4, res5]"
            )
        towers = [
            FovealTower(
                scale,
                names[-depth:],
                input_shape,
                head.POOLER_TYPE,
                head.POOLER_RESOLUTION,
                head.POOLER_SAMPLING_RATIO,
                head.CONV_DIM,
                head.FC_DIM,
            )
            for scale, depth in zip(FOVEAL, DEPTHS, strict=True)
        ]
        channels = cls.predictor_channels(cfg, len(towers) * head.FC_DIM)
        predictor = IntegralOutputLayers if head.INTEGRAL_IOUS else FastRCNNOutputLayers
        *below, _ = cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS
        ious = head.INTEGRAL_IOUS if head.INTEGRAL_SAMPLING == "each" else ()
        return {
            **super(RegionHeads, cls).from_config(cfg),  # detectron2's ROIHeads, which takes no input_shape
            **cls.region_arguments(cfg, input_shape),
            "towers": towers,
            "box_predictor": predictor(cfg, ShapeSpec(channels=channels)),
            "matchers": [Matcher([*below, iou], cfg.MODEL.ROI_HEADS.IOU_LABELS) for iou in ious],
        }

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """As detectron2's method; with `matchers`, for a classifier that is drawn: its index is `gt_classifiers`."""
        if not self.matchers:
            return super().label_and_sample_proposals(proposals, targets)
        drawn = int(torch.randint(len(self.matchers), ()))
        self.proposal_matcher = self.matchers[drawn]
        sampled = super().label_and_sample_proposals(proposals, targets)
        for regions in sampled:
            regions.gt_classifiers = torch.full_like(regions.gt_classes, drawn)
        return sampled

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        return torch.cat([tower(features, boxes) for tower in self.towers], dim=1)
