"""Trainings in several steps: an RPN, then Fast R-CNN on its proposals, as the papers' Faster R-CNN is trained.

STAGES of the config lists them, in order; each is a run of its own in OUTPUT_DIR/NAME:

    name        of the stage
    weights     name of an earlier stage whose network it starts from; MODEL.WEIGHTS where there is none
    proposals   name of an earlier stage, an RPN, on whose proposals it trains and is tested
    options     KEY, VALUE, … that it sets in the config
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Collection
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from detection.data.catalog import slug
from detection.data.loader import check_loader
from detection.evaluation.report import write_json
from detection.inference.modes import check_metric, check_testing
from detection.propose import propose
from detection.trainer import DetectionTrainer, train
from residet.checkpointer import check_same_run
from residet.launch import is_restart, merge_options, traces, write_config
from residet.trainer import check_engine

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

log = logging.getLogger("residet")

_KEYS = ("name", "weights", "proposals", "options")


def check_stages(cfg: CfgNode, given: Collection[str] = ()) -> None:
    """Raises InputError if STAGES names an unknown key or a stage that does not come before, or an option is wrong.

    Args:
        given: keys that the user has set, over the stages' options.
    """
    earlier: list[str] = []
    for stage in cfg.STAGES:
        unknown = set(stage) - set(_KEYS) if isinstance(stage, dict) else {stage}
        if unknown or "name" not in stage:
            raise InputError(f"STAGES: {stage} must have a name and may have {', '.join(_KEYS[1:])}")
        for key in ("weights", "proposals"):
            if key in stage and stage[key] not in earlier:
                raise InputError(f"STAGES: {stage['name']}: {key} {stage[key]!r} is no stage before it, {earlier}")
        merge_options(cfg.clone(), stage.get("options", []), f"STAGES, {stage['name']}")
        try:
            of_stage = stage_config(cfg, stage, given)
            check_engine(of_stage)
            check_testing(of_stage)
            check_metric(of_stage)
            check_loader(of_stage, eval_only=False)
        except InputError as e:
            raise InputError(f"STAGES: {stage['name']}: {e}") from e
        earlier.append(stage["name"])


def check_stages_output(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Raises InputError if OUTPUT_DIR holds stages of another run that this one does not resume, or none to resume."""
    begun = [stage["name"] for stage in cfg.STAGES if traces(Path(cfg.OUTPUT_DIR, stage["name"]))]
    if is_restart():
        args.resume = bool(begun)
        return
    if begun and not args.resume:
        raise InputError(f"OUTPUT_DIR: {cfg.OUTPUT_DIR} holds stages of another run; give --resume or another folder")
    if args.resume and not begun:
        raise InputError(f"--resume: {cfg.OUTPUT_DIR} holds no stage to resume; check OUTPUT_DIR or leave --resume out")


def train_stages(cfg: CfgNode, given: Collection[str] = ()) -> None:
    """Runs the stages; those that are done are passed over, one that was stopped goes on.

    Where the last stage shares its backbone, frozen, with the RPN of its proposals, the two together are a Faster
    R-CNN, OUTPUT_DIR/model_final.pth.

    Args:
        cfg: prepared, with STAGES.
        given: keys that the user has set, over the stages' options.
    """
    for number, stage in enumerate(cfg.STAGES, 1):
        stage_cfg = stage_config(cfg, stage, given)
        scaled = check_engine(stage_cfg)
        stage_cfg.freeze()
        folder = Path(stage_cfg.OUTPUT_DIR)
        log.info("stage %d of %d, %s → %s", number, len(cfg.STAGES), stage["name"], folder)
        for line in scaled:
            log.info("%s", line)
        if comm.is_main_process():
            write_config(stage_cfg)
        if not (folder / "results.json").is_file():
            resume = (folder / "last_checkpoint").is_file()
            if resume:
                check_same_run(stage_cfg, DetectionTrainer.metadata(stage_cfg))
            # Anew, so that a stage's random numbers are those of a run that was stopped before it, too.
            seed_all_rng(stage_cfg.SEED + comm.get_rank())
            if train(stage_cfg, resume) is None:  # SIGTERM has stopped it
                return
        if any(other.get("proposals") == stage["name"] for other in cfg.STAGES):
            trained = stage_cfg.clone()
            trained.defrost()
            trained.MODEL.WEIGHTS = str(folder / "model_final.pth")
            propose(trained, {n: proposal_file(folder, n) for n in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)})
        comm.synchronize()
    if comm.is_main_process():
        _join(cfg)
        last = Path(cfg.OUTPUT_DIR, cfg.STAGES[-1]["name"], "results.json")
        write_json(json.loads(last.read_text()), Path(cfg.OUTPUT_DIR, last.name))


def stage_config(cfg: CfgNode, stage: dict, given: Collection[str] = ()) -> CfgNode:
    """The config of a stage alone, tested plainly: other ways of testing are for the detector that comes of it."""
    options = stage.get("options", [])
    chosen = [
        x for key, value in zip(options[::2], options[1::2], strict=True) if key not in given for x in (key, value)
    ]
    of_stage = cfg.clone()
    of_stage.defrost()
    merge_options(of_stage, chosen, f"STAGES, {stage['name']}")
    of_stage.STAGES = []
    proposes = of_stage.MODEL.META_ARCHITECTURE == "ProposalNetwork"
    metric, of_proposals = cfg.TEST.BEST_METRIC, "box_proposals" in cfg.TEST.BEST_METRIC
    if "TEST.BEST_METRIC" not in chosen and "validation" not in metric and proposes != of_proposals:
        of_stage.TEST.BEST_METRIC, of_stage.TEST.PATIENCE = "", 0  # it is for stages of the other kind
    of_stage.TEST.REGION_SCALES, of_stage.TEST.TILES.SIZE, of_stage.TEST.AUG.ENABLED = (), 0, False
    of_stage.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, stage["name"]))
    if "weights" in stage:
        of_stage.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR, stage["weights"], "model_final.pth"))
    if "proposals" in stage:
        source = Path(cfg.OUTPUT_DIR, stage["proposals"])
        of_stage.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
        of_stage.MODEL.LOAD_PROPOSALS = True
        of_stage.DATASETS.PROPOSAL_FILES_TRAIN = tuple(str(proposal_file(source, n)) for n in cfg.DATASETS.TRAIN)
        of_stage.DATASETS.PROPOSAL_FILES_TEST = tuple(str(proposal_file(source, n)) for n in cfg.DATASETS.TEST)
    return of_stage


def proposal_file(folder: Path, dataset_name: str) -> Path:
    return folder / "proposals" / f"{slug(dataset_name)}.pth"


def _join(cfg: CfgNode) -> None:
    last = cfg.STAGES[-1]
    if "proposals" not in last:
        return
    rpn, detector = (
        read_checkpoint(Path(cfg.OUTPUT_DIR, name, "model_final.pth")) for name in (last["proposals"], last["name"])
    )
    shared = [k for k in rpn["model"] if k.startswith("backbone.")]
    if not all(torch.equal(rpn["model"][k], detector["model"][k]) for k in shared):
        log.info("RPN and Fast R-CNN share no features: each is in its stage's folder")
        return
    content = {k: v for k, v in detector.items() if k not in ("trainer", "iteration")}
    heads = {k: v for k, v in rpn["model"].items() if k.startswith("proposal_generator.")}
    save_checkpoint(content | {"model": {**detector["model"], **heads}}, Path(cfg.OUTPUT_DIR, "model_final.pth"))
