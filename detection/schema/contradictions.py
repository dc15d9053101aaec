"""Keys of detection that do not go together: of testing, data, and heads. Maps and anchors: contradictions_maps.py."""

from __future__ import annotations

from collections.abc import Iterator

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from detection.schema.contradictions_maps import of_anchors, of_maps
from detection.schema.table import EVALUATORS

from detectron2.config import CfgNode


def check_combinations(cfg: CfgNode, *, eval_only: bool) -> None:
    """Raises InputError with the first contradiction between two keys, each of which has an allowed value.

    Args:
        cfg: the config of a run, or of a phase.
        eval_only: whether the run only evaluates, so that the training data need no file of proposals.
    """
    checks = (_of_testing, _of_proposals, _of_sampling, _of_heads, of_maps, of_anchors, _of_images, _of_norms)
    for check in checks:
        for message in check(cfg):
            raise InputError(message)
    for message in (*_of_proposal_files(cfg, eval_only), *(() if eval_only or cfg.PHASES else _of_metric(cfg))):
        raise InputError(message)


def _of_testing(cfg: CfgNode) -> Iterator[str]:
    test, model = cfg.TEST, cfg.MODEL
    ways = {"TEST.AUG.ENABLED": test.AUG.ENABLED, "TEST.TILES.SIZE": test.TILES.SIZE}
    ways["TEST.REGION_SCALES"] = test.REGION_SCALES
    if len(chosen := [key for key, value in ways.items() if value]) > 1:
        yield f"{' and '.join(chosen)}: are set together; set only one of them"
    if model.ROI_LOC_HEAD.MODE and test.BOX_REFINEMENTS:
        yield (
            f"TEST.BOX_REFINEMENTS: {test.BOX_REFINEMENTS} is for box regression, but MODEL.ROI_LOC_HEAD.MODE is set; "
            "give TEST.BOX_REFINEMENTS 0 and use MODEL.ROI_LOC_HEAD.ROUNDS"
        )
    if len(test.REGION_SCALES) == 1:
        yield f"TEST.REGION_SCALES: {test.REGION_SCALES} are not two short sides or more; give () for one scale"
    if chosen and (model.LOAD_PROPOSALS or model.META_ARCHITECTURE != "GeneralizedRCNN"):
        yield (
            f"{chosen[0]}: is for a GeneralizedRCNN with an RPN of its own; here MODEL.META_ARCHITECTURE is "
            f"{model.META_ARCHITECTURE} and MODEL.LOAD_PROPOSALS is {model.LOAD_PROPOSALS}"
        )
    if test.REGION_SCALES and not cfg.INPUT.MIN_SIZE_TEST:
        yield "INPUT.MIN_SIZE_TEST: 0 does not go with TEST.REGION_SCALES; give a short side in pixels"
    if test.PATIENCE and not test.EVAL_PERIOD:
        yield "TEST.PATIENCE: counts evaluations, and there is only the one at the end; set TEST.EVAL_PERIOD"
    if cfg.PHASES and cfg.SOLVER.SCALE_LR_FROM_BATCH:
        yield "SOLVER.SCALE_LR_FROM_BATCH: phases have learning rates and batches of their own; set it in their options"


def _of_proposals(cfg: CfgNode) -> Iterator[str]:
    model, data = cfg.MODEL, cfg.DATASETS
    precomputed = model.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    if model.LOAD_PROPOSALS and model.META_ARCHITECTURE != "GeneralizedRCNN":
        yield f"MODEL.LOAD_PROPOSALS: {model.META_ARCHITECTURE} takes no proposals from files"
    if model.LOAD_PROPOSALS and not precomputed:
        yield "MODEL.LOAD_PROPOSALS: set MODEL.PROPOSAL_GENERATOR.NAME PrecomputedProposals too"
    if precomputed and not model.LOAD_PROPOSALS:
        yield "MODEL.PROPOSAL_GENERATOR.NAME: PrecomputedProposals needs MODEL.LOAD_PROPOSALS True"
    if (data.PROPOSAL_FILES_TRAIN or data.PROPOSAL_FILES_TEST) and not model.LOAD_PROPOSALS:
        yield "DATASETS.PROPOSAL_FILES_TRAIN, _TEST: are read only with MODEL.LOAD_PROPOSALS True"


def _of_proposal_files(cfg: CfgNode, eval_only: bool) -> Iterator[str]:
    for split in (("TEST",) if eval_only else ("TRAIN", "TEST")) if cfg.MODEL.LOAD_PROPOSALS else ():
        names, files = cfg.DATASETS[split], cfg.DATASETS[f"PROPOSAL_FILES_{split}"]
        if len(names) != len(files):
            yield (
                f"DATASETS.PROPOSAL_FILES_{split}: {len(files)} files for {len(names)} data sets; "
                "MODEL.LOAD_PROPOSALS needs one file for each data set"
            )


def _of_sampling(cfg: CfgNode) -> Iterator[str]:
    loader = cfg.DATALOADER
    if loader.SAMPLER_TRAIN == "RepeatFactorTrainingSampler" and not loader.REPEAT_THRESHOLD:
        yield (
            "DATALOADER.REPEAT_THRESHOLD: the share of images below which a class is repeated must be above 0 and at "
            f"most 1, such as 0.3; the config has {loader.REPEAT_THRESHOLD}"
        )


def _of_heads(cfg: CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    heads, box = model.ROI_HEADS, model.ROI_BOX_HEAD
    if model.META_ARCHITECTURE != "GeneralizedRCNN":
        return
    if box.NAME == "FastRCNNConvFCHead" and not box.NUM_FC + box.NUM_CONV:
        yield "MODEL.ROI_BOX_HEAD.NUM_FC: FastRCNNConvFCHead needs NUM_FC or NUM_CONV of 1 or more"
    if heads.NAME in ("PooledROIHeads", "StandardROIHeads", "CascadeROIHeads") and not box.NAME:
        yield f"MODEL.ROI_BOX_HEAD.NAME: '' leaves {heads.NAME} without layers; take FastRCNNConvFCHead"
    if len(heads.IOU_LABELS) != len(heads.IOU_THRESHOLDS) + 1:
        yield f"MODEL.ROI_HEADS.IOU_LABELS: {heads.IOU_LABELS} must be one more than IOU_THRESHOLDS"
    cascade = model.ROI_BOX_CASCADE_HEAD
    if heads.NAME != "CascadeROIHeads":
        return
    if len(cascade.IOUS) != len(cascade.BBOX_REG_WEIGHTS) or cascade.IOUS[0] != heads.IOU_THRESHOLDS[0]:
        yield (
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS: {cascade.IOUS} must be as many as BBOX_REG_WEIGHTS, and begin with "
            f"MODEL.ROI_HEADS.IOU_THRESHOLDS, {heads.IOU_THRESHOLDS}"
        )
    if not box.CLS_AGNOSTIC_BBOX_REG:
        yield "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG: False does not go with CascadeROIHeads; set it to True"


def _of_images(cfg: CfgNode) -> Iterator[str]:
    inputs, crop = cfg.INPUT, cfg.INPUT.CROP
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and len(inputs.MIN_SIZE_TRAIN) != 2:
        yield f"INPUT.MIN_SIZE_TRAIN: {inputs.MIN_SIZE_TRAIN} are not the two ends of a range; give (SHORTEST, LONGEST)"
    elif inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and inputs.MIN_SIZE_TRAIN[0] > inputs.MIN_SIZE_TRAIN[1]:
        yield f"INPUT.MIN_SIZE_TRAIN: {inputs.MIN_SIZE_TRAIN} is no range; give the shorter side first"
    if crop.TYPE.startswith("relative") and max(crop.SIZE) > 1:
        yield f"INPUT.CROP.SIZE: {crop.SIZE} are no shares of the image; give values up to 1, or a TYPE in pixels"
    if crop.ENABLED and crop.TYPE.startswith("absolute") and not all(isinstance(side, int) for side in crop.SIZE):
        yield f"INPUT.CROP.SIZE: {crop.SIZE} are no pixels; give whole numbers, or a TYPE in shares"
    if crop.TYPE == "absolute_range" and crop.SIZE[0] > crop.SIZE[1]:
        yield f"INPUT.CROP.SIZE: {crop.SIZE} is no range; give the smaller size first"


def _of_norms(cfg: CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    if not spec_of_builder(model.BACKBONE.NAME).has_norms and model.RESNETS.NORM != "FrozenBN":
        yield f"MODEL.RESNETS.NORM: {model.RESNETS.NORM} would have no effect: {model.BACKBONE.NAME} has no norms"
    channels = {"MODEL.FPN.NORM": model.FPN.OUT_CHANNELS, "MODEL.ROI_BOX_HEAD.NORM": model.ROI_BOX_HEAD.CONV_DIM}
    for key, norm in _norms(cfg).items():
        if norm == "GN" and channels.get(key, 32) % 32:
            yield f"{key}: GN has 32 groups, which do not divide {channels[key]} channels; take a multiple of 32"


def check_norms_on_device(cfg: CfgNode) -> None:
    """Raises InputError if a norm of the detector cannot train on MODEL.DEVICE."""
    for key, norm in _norms(cfg).items():
        if norm in ("SyncBN", "nnSyncBN") and cfg.MODEL.DEVICE == "cpu":
            raise InputError(f"{key}: {norm} needs GPUs; on CPUs take naiveSyncBN")


def _norms(cfg: CfgNode) -> dict[str, str]:
    model = cfg.MODEL
    norms = {"MODEL.RESNETS.NORM": model.RESNETS.NORM}
    if "_fpn_" in model.BACKBONE.NAME:
        norms["MODEL.FPN.NORM"] = model.FPN.NORM
    if model.META_ARCHITECTURE == "RetinaNet":
        norms["MODEL.RETINANET.NORM"] = model.RETINANET.NORM
    if model.META_ARCHITECTURE == "GeneralizedRCNN":
        norms["MODEL.ROI_BOX_HEAD.NORM"] = model.ROI_BOX_HEAD.NORM
    return norms


def _of_metric(cfg: CfgNode) -> Iterator[str]:
    """A wrong TEST.BEST_METRIC, which would be noticed only after the training."""
    metric, tests = cfg.TEST.BEST_METRIC, cfg.DATASETS.TEST
    averages = ("", "_ema") if cfg.SOLVER.EMA.DECAY else ("",)
    if len(tests) > 1:
        starts = [f"{name}{average}/{group}/" for name in tests for group in metric_groups(cfg) for average in averages]
    else:
        starts = [f"{group}{average}/" for group in metric_groups(cfg) for average in averages]
    example = "box_proposals/AR@1000" if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork" else "bbox/AP"
    if metric and not metric.startswith(tuple(starts)):
        yield (
            f"TEST.BEST_METRIC: {metric} is none of {', '.join(f'{start}…' for start in starts)}; write GROUP/NAME, "
            f"such as {example}. TEST.EVALUATORS, TEST.LOSS and SOLVER.EMA.DECAY decide which groups there are"
        )


def metric_groups(cfg: CfgNode) -> list[str]:
    """The groups of results that a test gives: "bbox" is the group of "bbox/AP"."""
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        groups = ["box_proposals"]
    else:
        groups = [EVALUATORS[evaluator] for evaluator in cfg.TEST.EVALUATORS]
    return groups + ["validation"] * cfg.TEST.LOSS
