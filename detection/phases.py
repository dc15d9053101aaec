"""Trainings in several phases: an RPN, then Fast R-CNN on its proposals, as the papers' Faster R-CNN is trained.

PHASES of the config lists them in order. Each phase is a run of its own in OUTPUT_DIR/NAME:

    name        name of the phase
    weights     name of an earlier phase, whose network this phase starts from; without it, MODEL.WEIGHTS
    proposals   name of an earlier phase, an RPN; this phase trains and is tested on the RPN's proposals
    schedule    share of SOLVER.MAX_ITER and SOLVER.STEPS that the phase takes; 1 without it
    options     KEY, VALUE, … that the phase sets in the config
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection
from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.read import read_weights
from backbones.whole_files import write_json
from detection.build import build_model, model_config
from detection.card import write_detector_card
from detection.data.catalog import slug
from detection.inference.modes import resolve_plain_testing
from detection.propose import propose
from detection.schema.keys import check_keys
from detection.schema.table import TABLE
from detection.trainer import DetectionTrainer, train
from residet.config import merge_options, resolve_engine
from residet.output import (
    check_config_is_ours,
    files_of_run,
    in_main_process,
    is_restart,
    is_resumable,
    lock_folder,
    write_config,
)
from residet.plan import RunPlan, check_same_run, plan_start

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

log = logging.getLogger("residet")

_KEYS = ("name", "weights", "proposals", "schedule", "options")


def check_phases(cfg: CfgNode, overridden_keys: Collection[str] = ()) -> None:
    """Raises InputError if PHASES has an unknown key, names a phase that does not come before, or sets a wrong option.

    Args:
        cfg: the config, with PHASES.
        overridden_keys: keys that the user has set; they win over the phases' options.
    """
    earlier: list[str] = []
    for phase in cfg.PHASES:
        unknown = set(phase) - set(_KEYS) if isinstance(phase, dict) else {phase}
        if unknown or "name" not in phase:
            raise InputError(f"PHASES: {phase} must have a name and may have {', '.join(_KEYS[1:])}")
        for key in ("weights", "proposals"):
            if key in phase and phase[key] not in earlier:
                raise InputError(f"PHASES: {phase['name']}: {key} {phase[key]!r} is no phase before it, {earlier}")
        share = phase.get("schedule", 1.0)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < math.inf:
            raise InputError(f"PHASES: {phase['name']}: schedule {share!r} is no number above 0")
        merge_options(cfg.clone(), phase.get("options", []), f"PHASES, {phase['name']}")
        try:
            phase_cfg = phase_config(cfg, phase, overridden_keys)
            check_keys(phase_cfg, phase.get("options", [])[::2])
        except InputError as e:
            raise InputError(f"PHASES: {phase['name']}: {e}") from e
        earlier.append(phase["name"])


def resolve_phases_output(cfg: CfgNode, *, resume: bool) -> bool:
    """Keeps the phases of one run from writing over another's.

    Returns:
        whether the run goes on from phases in OUTPUT_DIR.

    Raises:
        InputError: OUTPUT_DIR holds phases and this run does not resume them, or it holds none to resume.
    """
    in_main_process(lambda: lock_folder(Path(cfg.OUTPUT_DIR)))
    begun = [phase["name"] for phase in cfg.PHASES if files_of_run(Path(cfg.OUTPUT_DIR, phase["name"]))]
    if is_restart():
        return bool(begun)
    if begun and not resume:
        raise InputError(f"OUTPUT_DIR: {cfg.OUTPUT_DIR} holds phases of another run; give --resume or another folder")
    if resume and not begun:
        raise InputError(f"--resume: {cfg.OUTPUT_DIR} holds no phase to resume; check OUTPUT_DIR or leave --resume out")
    if not resume:
        check_config_is_ours(Path(cfg.OUTPUT_DIR))
    return resume


def train_phases(plan: RunPlan, overridden_keys: Collection[str] = ()) -> None:
    """Runs the phases. A phase that is done is passed over; a phase that was stopped goes on.

    Where the last phase shares its backbone, frozen, with the RPN of its proposals, the two together are a Faster
    R-CNN, OUTPUT_DIR/model_final.pth with its model_card.md.

    Args:
        plan: of the run, with PHASES in its config.
        overridden_keys: keys that the user has set; they win over the phases' options.
    """
    cfg = plan.cfg
    for number, phase in enumerate(cfg.PHASES, 1):
        phase_cfg = phase_config(cfg, phase, overridden_keys)
        lines = resolve_engine(phase_cfg)
        phase_cfg.freeze()
        folder = Path(phase_cfg.OUTPUT_DIR)
        log.info("phase %d of %d, %s → %s", number, len(cfg.PHASES), phase["name"], folder)
        phase_plan = None if (folder / "results.json").is_file() else _plan_phase(plan, phase_cfg)
        for line in [*lines, *(phase_plan.lines if phase_plan else [])]:
            log.info("%s", line)
        if comm.is_main_process():
            write_config(phase_cfg)
        if phase_plan:
            # A phase's random numbers are the same whether or not the phase before ran in this process.
            seed_all_rng(phase_cfg.SEED + comm.get_rank())
            if train(phase_plan) is None:  # SIGTERM has stopped it
                return
        if any(other.get("proposals") == phase["name"] for other in cfg.PHASES):
            names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
            rpn = read_weights(folder / "model_final.pth")
            propose(phase_cfg, rpn, {name: proposal_file(folder, name) for name in names})
        comm.synchronize()
    if comm.is_main_process():
        results = json.loads(Path(cfg.OUTPUT_DIR, cfg.PHASES[-1]["name"], "results.json").read_text())
        if _join(cfg):
            rows = {name: {k: v for k, v in row.items() if "/" not in k} for name, row in results.items()}
            write_detector_card(cfg, build_model(cfg), rows)
        write_json(results, Path(cfg.OUTPUT_DIR, "results.json"))


def _plan_phase(plan: RunPlan, phase_cfg: CfgNode) -> RunPlan:
    """The plan of one phase, from its last checkpoint where it has one."""
    arch = spec_of_builder(phase_cfg.MODEL.BACKBONE.NAME).name
    resume = is_resumable(Path(phase_cfg.OUTPUT_DIR))
    if not resume and plan.weights and phase_cfg.MODEL.WEIGHTS == plan.cfg.MODEL.WEIGHTS:
        phase_plan = RunPlan(phase_cfg, weights=plan.weights)  # read already
    else:
        phase_plan = plan_start(phase_cfg, resume=resume, arch=arch)
    phase_plan.command, phase_plan.train_data = plan.command, plan.train_data
    if resume:
        phase_plan.lines += check_same_run(phase_plan, DetectionTrainer.metadata(phase_cfg), TABLE)
    return phase_plan


def phase_config(cfg: CfgNode, phase: dict, overridden_keys: Collection[str] = ()) -> CfgNode:
    """The config of one phase.

    A phase is tested plainly: tiles, test-time augmentation and pyramids are for the detector at the end.

    Args:
        cfg: the config of the run, with PHASES.
        phase: an entry of PHASES.
        overridden_keys: keys that the user has set; they win over the phase's options.
    """
    options = phase.get("options", [])
    pairs = zip(options[::2], options[1::2], strict=True)
    chosen = [x for key, value in pairs if key not in overridden_keys for x in (key, value)]
    phase_cfg = cfg.clone()
    phase_cfg.defrost()
    merge_options(phase_cfg, chosen, f"PHASES, {phase['name']}")
    _shorten(phase_cfg, phase.get("schedule", 1.0), {*chosen[::2], *overridden_keys})
    phase_cfg.PHASES = []
    if phase != cfg.PHASES[-1]:
        phase_cfg.TEST.EXPECTED_RESULTS = []
    proposes = phase_cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork"
    metric, of_proposals = cfg.TEST.BEST_METRIC, "box_proposals" in cfg.TEST.BEST_METRIC
    if "TEST.BEST_METRIC" not in chosen and "validation" not in metric and proposes != of_proposals:
        phase_cfg.TEST.BEST_METRIC, phase_cfg.TEST.PATIENCE = "", 0  # the metric is for phases of the other kind
    resolve_plain_testing(phase_cfg)
    phase_cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, phase["name"]))
    if "weights" in phase:
        phase_cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR, phase["weights"], "model_final.pth"))
    if "proposals" in phase:
        source = Path(cfg.OUTPUT_DIR, phase["proposals"])
        phase_cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
        phase_cfg.MODEL.LOAD_PROPOSALS = True
        phase_cfg.DATASETS.PROPOSAL_FILES_TRAIN = tuple(str(proposal_file(source, n)) for n in cfg.DATASETS.TRAIN)
        phase_cfg.DATASETS.PROPOSAL_FILES_TEST = tuple(str(proposal_file(source, n)) for n in cfg.DATASETS.TEST)
    return phase_cfg


def _shorten(cfg: CfgNode, share: float, kept: Collection[str]) -> None:
    """Multiplies SOLVER.MAX_ITER and SOLVER.STEPS by `share`, except for the keys that are in `kept`."""
    solver = cfg.SOLVER
    if "SOLVER.MAX_ITER" not in kept:
        solver.MAX_ITER = max(round(solver.MAX_ITER * share), 1)
    if "SOLVER.STEPS" not in kept:
        solver.STEPS = tuple(round(step * share) for step in solver.STEPS)


def proposal_file(folder: Path, dataset_name: str) -> Path:
    """The file of the proposals for a data set, below the folder of the RPN's phase."""
    return folder / "proposals" / f"{slug(dataset_name)}.pth"


def _join(cfg: CfgNode) -> bool:
    """Writes RPN and Fast R-CNN as one Faster R-CNN, where they share their backbone. Returns whether they do."""
    last = cfg.PHASES[-1]
    if "proposals" not in last:
        return False
    rpn, detector = (
        read_checkpoint(Path(cfg.OUTPUT_DIR, name, "model_final.pth")) for name in (last["proposals"], last["name"])
    )
    shared = [k for k in rpn["model"] if k.startswith("backbone.")]
    if not all(torch.equal(rpn["model"][k], detector["model"][k]) for k in shared):
        log.info("RPN and Fast R-CNN share no features: each is in the folder of its phase")
        return False
    content = {k: v for k, v in detector.items() if k not in ("trainer", "iteration")}
    heads = {k: v for k, v in rpn["model"].items() if k.startswith("proposal_generator.")}
    joined = {"model": {**detector["model"], **heads}, "config": model_config(cfg)}  # whose proposals are its own RPN's
    save_checkpoint(content | joined, Path(cfg.OUTPUT_DIR, "model_final.pth"))
    return True
