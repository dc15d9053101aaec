"""The check of detection's config; and its keys that a run would not read, each with what to do instead."""

from __future__ import annotations

from collections.abc import Collection

from backbones.errors import InputError
from detection.config import default_config
from detection.schema.contradictions import check_combinations
from detection.schema.table import TABLE
from residet.config import check_engine
from residet.schema.keys import check_overwritten, check_unused
from residet.schema.kinds import Key, check_values

from detectron2.config import CfgNode

_BOXES_ONLY = "detectors here find boxes only"
_NETWORK = "MODEL.BACKBONE.NAME names the whole network (STRIDE_IN_1X1 True is build_ARCH_caffe_backbone)"
_UPRIGHT = "boxes have no angle here"
_LVIS = "the federated loss is for LVIS, which is not read here"
_HEADS = ("PooledROIHeads", "ArchRes5ROIHeads", "MultiPathROIHeads")

UNUSED = {
    "MODEL.MASK_ON": _BOXES_ONLY,
    "MODEL.KEYPOINT_ON": _BOXES_ONLY,
    "MODEL.ROI_MASK_HEAD": _BOXES_ONLY,
    "MODEL.ROI_KEYPOINT_HEAD": _BOXES_ONLY,
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": _BOXES_ONLY,
    "MODEL.SEM_SEG_HEAD": _BOXES_ONLY,
    "MODEL.PANOPTIC_FPN": _BOXES_ONLY,
    "INPUT.MASK_FORMAT": _BOXES_ONLY,
    "TEST.KEYPOINT_OKS_SIGMAS": _BOXES_ONLY,
    "MODEL.ANCHOR_GENERATOR.ANGLES": _UPRIGHT,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": _LVIS,
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": _LVIS,
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER": _LVIS,
    "SOLVER.NUM_DECAYS": "SOLVER.STEPS says where the learning rate falls",
    "SOLVER.REFERENCE_WORLD_SIZE": "SOLVER.IMS_PER_BATCH is of all processes together: set it, and "
    "SOLVER.SCALE_LR_FROM_BATCH scales the learning rate with it",
    "GLOBAL.HACK": "nothing reads it",
}
_OF_DETECTRON2S_RESNET = ("DEPTH", "NUM_GROUPS", "WIDTH_PER_GROUP", "STRIDE_IN_1X1", "RES5_DILATION")
_OF_DETECTRON2S_RESNET += ("RES2_OUT_CHANNELS", "STEM_OUT_CHANNELS")
_OF_DETECTRON2S_RESNET += ("DEFORM_ON_PER_STAGE", "DEFORM_MODULATED", "DEFORM_NUM_GROUPS")
UNUSED |= {f"MODEL.RESNETS.{key}": _NETWORK for key in _OF_DETECTRON2S_RESNET}

_FROM_DATA = "the number of classes comes from the data, and DATASETS.CLASSES can name them"
OVERWRITTEN = {"MODEL.ROI_HEADS.NUM_CLASSES": _FROM_DATA, "MODEL.RETINANET.NUM_CLASSES": _FROM_DATA}


def check_keys(cfg: CfgNode, overridden_keys: Collection[str] = (), *, eval_only: bool = False) -> None:
    """Raises InputError where a key has a value it must not have, would not be read, or contradicts another.

    Args:
        cfg: the config of a run, or of a phase.
        overridden_keys: keys that the user has set on the command line.
        eval_only: whether the run only evaluates.
    """
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" and cfg.MODEL.ROI_HEADS.NAME == "Res5ROIHeads":
        raise InputError("MODEL.ROI_HEADS.NAME: Res5ROIHeads builds a network of its own; use ArchRes5ROIHeads")
    check_values(cfg, _table(cfg))
    check_unused(cfg, default_config(), UNUSED | _unused_now(cfg))
    check_overwritten(overridden_keys, OVERWRITTEN)
    check_engine(cfg)
    check_combinations(cfg, eval_only=eval_only)


def _table(cfg: CfgNode) -> dict[str, Key]:
    """The rows of the keys that are read: without RoI heads, their default, which no run may have, stays."""
    without = {"MODEL.ROI_HEADS.NAME"} if cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN" else set()
    return {name: key for name, key in TABLE.items() if name not in without}


def _unused_now(cfg: CfgNode) -> dict[str, str]:
    """Keys that a run with this architecture, backbone, RoI heads and sampler would not read."""
    model, unused = cfg.MODEL, {}
    if "_fpn_" not in model.BACKBONE.NAME:
        unused["MODEL.FPN"] = "MODEL.BACKBONE.NAME builds no feature pyramid; use build_ARCH_fpn_backbone"
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        unused["DATALOADER.REPEAT_THRESHOLD"] = "set DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler"
    if model.META_ARCHITECTURE == "ProposalNetwork":  # a phase, whose RoI heads come later
        return unused
    heads = model.ROI_HEADS.NAME if model.META_ARCHITECTURE == "GeneralizedRCNN" else ""
    if heads not in _HEADS:
        remedy = f"set MODEL.ROI_HEADS.NAME to one of {', '.join(_HEADS)}"
        keys = (
            "MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT",
            "MODEL.ROI_LOC_HEAD",
            "TEST.BOX_REFINEMENTS",
            "TEST.BOX_VOTING_IOU",
        )
        unused |= dict.fromkeys(keys, remedy)
    if heads != "MultiPathROIHeads":
        unused |= dict.fromkeys(
            ("MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS", "MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING"),
            "set MODEL.ROI_HEADS.NAME MultiPathROIHeads",
        )
    if heads != "CascadeROIHeads":
        unused["MODEL.ROI_BOX_CASCADE_HEAD"] = "set MODEL.ROI_HEADS.NAME CascadeROIHeads"
    return unused
