"""The keys of MODEL: what each may hold. Names of heads come from detectron2's registries, so that others count too."""

from __future__ import annotations

from collections.abc import Callable

from backbones.registry import spec_of_builder
from detection.heads.locnet import MODES
from detection.heads.multipath import SAMPLINGS
from residet.schema.kinds import Choice, Flag, Key, Named, Real, Several, Text, Whole
from residet.schema.shared import NOT_NEGATIVE, POSITIVE, SHARE

from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY
from fvcore.common.registry import Registry

ARCHITECTURES = ("GeneralizedRCNN", "ProposalNetwork", "RetinaNet")
# Of rotated boxes, or, Res5ROIHeads, of a stage 5 that is always detectron2's own.
_LEFT_OUT = ("Res5ROIHeads", "RROIHeads", "RotatedAnchorGenerator")
NORMS = ("BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "LN")
_MAPS = Several(Text(empty=False), 1)
_IOU = Real(above=0, high=1)
_SCORE = SHARE
_NUMBER = Whole(1, 2**20)
_REGRESSION = Choice(("smooth_l1", "giou", "diou", "ciou"))
_LABELS = Several(Whole(-1, 1), 1)
_DELTAS = Several(POSITIVE, 4, 4)


def _names(registry: Registry) -> Callable[[], list[str]]:
    return lambda: [name for name, _ in registry if name not in _LEFT_OUT]


_BACKBONE = {
    "MODEL.META_ARCHITECTURE": Key(
        Choice(ARCHITECTURES), "Kind of detector: Faster R-CNN, its RPN alone, or RetinaNet."
    ),
    "MODEL.LOAD_PROPOSALS": Key(Flag(), "Whether proposals are read from DATASETS.PROPOSAL_FILES_TRAIN and _TEST."),
    "MODEL.BACKBONE.NAME": Key(
        Named(spec_of_builder, "build_ARCH_backbone, build_ARCH_fpn_backbone or build_retinanet_ARCH_fpn_backbone"),
        "Function that builds the backbone, with or without a feature pyramid.",
    ),
    "MODEL.BACKBONE.FREEZE_AT": Key(Whole(0, 5), "Number of stages that stay as they are: 1 the stem, 2 res2 too, …"),
    "MODEL.RESNETS.OUT_FEATURES": Key(_MAPS, "Maps that the backbone gives, before the feature pyramid."),
    "MODEL.RESNETS.NORM": Key(Choice(NORMS), "Norm of the backbone."),
    "MODEL.RESNETS.RESIDUAL_SCALE": Key(Real(low=0, high=1)),
    "MODEL.FPN.IN_FEATURES": Key(Several(Text(empty=False)), "Maps of the backbone that the feature pyramid takes."),
    "MODEL.FPN.OUT_CHANNELS": Key(_NUMBER, "Channels of each map of the feature pyramid."),
    "MODEL.FPN.NORM": Key(Choice(("", *NORMS)), "Norm of the feature pyramid; empty for none."),
    "MODEL.FPN.FUSE_TYPE": Key(Choice(("sum", "avg")), "How a map is joined with the coarser one."),
}

_PROPOSALS = {
    "MODEL.PROPOSAL_GENERATOR.NAME": Key(Choice(("RPN", "PrecomputedProposals")), "Where proposals come from."),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": Key(NOT_NEGATIVE, "Smallest side of a proposal, in pixels."),
    "MODEL.ANCHOR_GENERATOR.NAME": Key(Choice(_names(ANCHOR_GENERATOR_REGISTRY)), "Class of the anchors."),
    "MODEL.ANCHOR_GENERATOR.SIZES": Key(
        Several(Several(POSITIVE, 1), 1),
        "Square roots of the anchors' areas, in pixels: a list for all maps, or one for each.",
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Key(
        Several(Several(POSITIVE, 1), 1), "Height / width of the anchors: a list for all maps, or one for each."
    ),
    "MODEL.ANCHOR_GENERATOR.OFFSET": Key(Real(low=0, below=1), "Place of the first anchor, in strides of the map."),
    "MODEL.RPN.HEAD_NAME": Key(Choice(_names(RPN_HEAD_REGISTRY)), "Class of the RPN's head."),
    "MODEL.RPN.IN_FEATURES": Key(_MAPS, "Maps that the RPN runs on."),
    "MODEL.RPN.BOUNDARY_THRESH": Key(
        Real(low=-1),
        "Anchors that reach over the image by more than this number of pixels are not trained; -1 trains all.",
    ),
    "MODEL.RPN.IOU_THRESHOLDS": Key(
        Several(_IOU, 1, rising=True), "IoUs with an object at which an anchor's label changes."
    ),
    "MODEL.RPN.IOU_LABELS": Key(_LABELS, "Labels between these IoUs: 0 background, -1 not trained, 1 object."),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": Key(_NUMBER, "Number of anchors of an image that are trained."),
    "MODEL.RPN.POSITIVE_FRACTION": Key(SHARE, "Largest share of objects among them."),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": Key(_REGRESSION, "Loss of the boxes."),
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": Key(NOT_NEGATIVE, "Weight of the loss of the boxes."),
    "MODEL.RPN.BBOX_REG_WEIGHTS": Key(_DELTAS, "Factors of a box's deltas dx, dy, dw, dh."),
    "MODEL.RPN.SMOOTH_L1_BETA": Key(NOT_NEGATIVE, "Where smooth L1 goes over from L2 to L1; 0 is L1."),
    "MODEL.RPN.LOSS_WEIGHT": Key(NOT_NEGATIVE, "Weight of the loss of objectness."),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": Key(_NUMBER, "Proposals of a map before NMS, in training."),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": Key(_NUMBER, "Proposals of a map before NMS, at test."),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": Key(_NUMBER, "Proposals of an image after NMS, in training."),
    "MODEL.RPN.POST_NMS_TOPK_TEST": Key(_NUMBER, "Proposals of an image after NMS, at test."),
    "MODEL.RPN.NMS_THRESH": Key(_IOU, "IoU above which NMS drops the proposal with the lower score."),
    "MODEL.RPN.CONV_DIMS": Key(
        Several(Whole(-1), 1), "Channels of the head's convolutions; -1 takes those of the map."
    ),
}

_HEADS = {
    "MODEL.ROI_HEADS.NAME": Key(Choice(_names(ROI_HEADS_REGISTRY)), "Class of the RoI heads."),
    "MODEL.ROI_HEADS.NUM_CLASSES": Key(_NUMBER, "Number of classes; the run fills it from the data."),
    "MODEL.ROI_HEADS.IN_FEATURES": Key(_MAPS, "Maps that regions are pooled from."),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": Key(
        Several(_IOU, 1, rising=True), "IoUs with an object at which a region's label changes."
    ),
    "MODEL.ROI_HEADS.IOU_LABELS": Key(_LABELS, "Labels between these IoUs: 0 background, -1 not trained, 1 object."),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": Key(_NUMBER, "Number of regions of an image that are trained."),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": Key(SHARE, "Largest share of objects among them."),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": Key(
        Real(low=-100, high=1), "Score below which a detection is dropped; below 0 every region stays (MultiPathNet)."
    ),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": Key(_IOU, "IoU above which NMS drops the detection with the lower score."),
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": Key(Flag(), "Whether training adds the objects' own boxes to the proposals."),
    "MODEL.ROI_BOX_HEAD.NAME": Key(
        Choice(lambda: ["", *_names(ROI_BOX_HEAD_REGISTRY)()]), "Class of the layers on pooled regions; empty for C4."
    ),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": Key(_REGRESSION, "Loss of the boxes."),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": Key(NOT_NEGATIVE, "Weight of the loss of the boxes."),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": Key(_DELTAS, "Factors of a box's deltas dx, dy, dw, dh."),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": Key(NOT_NEGATIVE, "Where smooth L1 goes over from L2 to L1; 0 is L1."),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": Key(Whole(1, 256), "Height and width of a pooled region."),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": Key(
        Whole(0, 256), "Samples in each direction of a bin; 0 chooses by size."
    ),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": Key(Choice(("ROIAlignV2", "ROIAlign", "ROIPool")), "How regions are pooled."),
    "MODEL.ROI_BOX_HEAD.NUM_FC": Key(Whole(0, 64), "Number of fully connected layers."),
    "MODEL.ROI_BOX_HEAD.FC_DIM": Key(_NUMBER, "Outputs of each."),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": Key(Whole(0, 64), "Number of convolutions before them."),
    "MODEL.ROI_BOX_HEAD.CONV_DIM": Key(_NUMBER, "Channels of each."),
    "MODEL.ROI_BOX_HEAD.NORM": Key(Choice(("", *NORMS)), "Norm of the convolutions; empty for none."),
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": Key(Flag(), "Whether a region has one box for all classes."),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": Key(
        Flag(), "Whether the loss of the classes is of sigmoids, not of a softmax."
    ),
    "MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT": Key(Flag()),
    "MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS": Key(Several(_IOU, rising=True)),
    "MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING": Key(Choice(tuple(SAMPLINGS))),
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": Key(Several(_DELTAS, 1), "Factors of the deltas in each round."),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": Key(Several(_IOU, 1), "IoU from which a region is an object, in each round."),
    "MODEL.ROI_LOC_HEAD.MODE": Key(Choice(("", *MODES))),
    "MODEL.ROI_LOC_HEAD.RESOLUTION": Key(Whole(2, 1024)),
    "MODEL.ROI_LOC_HEAD.SEARCH": Key(Real(low=1, high=100)),
    "MODEL.ROI_LOC_HEAD.CONV_DIM": Key(_NUMBER),
    "MODEL.ROI_LOC_HEAD.ROUNDS": Key(Whole(1, 100)),
}

_RETINANET = {
    "MODEL.RETINANET.NUM_CLASSES": Key(_NUMBER, "Number of classes; the run fills it from the data."),
    "MODEL.RETINANET.IN_FEATURES": Key(_MAPS, "Maps that the head runs on."),
    "MODEL.RETINANET.NUM_CONVS": Key(Whole(0, 64), "Number of convolutions of the head."),
    "MODEL.RETINANET.IOU_THRESHOLDS": Key(
        Several(_IOU, 1, rising=True), "IoUs with an object at which an anchor's label changes."
    ),
    "MODEL.RETINANET.IOU_LABELS": Key(_LABELS, "Labels between these IoUs: 0 background, -1 not trained, 1 object."),
    "MODEL.RETINANET.PRIOR_PROB": Key(Real(above=0, below=1), "Score that the head gives at first."),
    "MODEL.RETINANET.SCORE_THRESH_TEST": Key(_SCORE, "Score below which a detection is dropped."),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": Key(_NUMBER, "Detections of a map before NMS."),
    "MODEL.RETINANET.NMS_THRESH_TEST": Key(_IOU, "IoU above which NMS drops the detection with the lower score."),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": Key(_DELTAS, "Factors of a box's deltas dx, dy, dw, dh."),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": Key(NOT_NEGATIVE, "Gamma of the focal loss."),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": Key(SHARE, "Alpha of the focal loss."),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": Key(NOT_NEGATIVE, "Where smooth L1 goes over from L2 to L1; 0 is L1."),
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": Key(_REGRESSION, "Loss of the boxes."),
    "MODEL.RETINANET.NORM": Key(Choice(("", *NORMS)), "Norm of the head's convolutions; empty for none."),
}

MODEL: dict[str, Key] = _BACKBONE | _PROPOSALS | _HEADS | _RETINANET
