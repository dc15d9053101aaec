"""Trains the per-class RPN or the R-CNN, evaluates, and runs the two one after the other."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.load import backbone_state, load_state
from backbones.weights.read import weights_in
from backbones.whole_files import write_json
from detection.localisation.data import TrainingCrops, WholeImages
from detection.localisation.evaluator import LocalisationEvaluator
from detection.localisation.prepare import open_split, predict_classes, prepare
from detection.localisation.rcnn import Localiser, PerClassRCNN, ProposalWarps
from detection.localisation.rpn import PerClassRPN
from residet.engine.loaders import Loader, PositionSampler, loader_options
from residet.engine.trainer import Trainer
from residet.output import files_of_run, is_restart, write_config
from residet.plan import RunPlan
from residet.progress import progress

import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from tabulate import tabulate
from torch import nn

log = logging.getLogger("residet")

_MODELS = {"rpn": PerClassRPN, "rcnn": PerClassRCNN}
_PROPOSALS, _PREDICTED = "proposals.pth", "predicted_classes.json"  # beside the folders of the stages


class LocalisationTrainer(Trainer):
    """detectron2's engine on ILSVRC's CLS-LOC data. LOCALISATION.STAGE says which network."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        network = get_spec(cfg.LOCALISATION.ARCH).build(None)
        return _MODELS[cfg.LOCALISATION.STAGE](network, cfg).to(cfg.MODEL.DEVICE)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iter: int = 0) -> Loader:
        c, pictures = cfg.LOCALISATION, open_split(cfg, "train")
        if c.STAGE == "rpn":
            data = TrainingCrops(pictures, c.SIZE, tuple(c.SHORT_SIDE), cfg.SEED)
        else:
            proposals = read_checkpoint(_beside(cfg, _PROPOSALS))
            data = ProposalWarps(pictures, proposals, c.SIZE, c.RCNN_IOU, cfg.SEED)
        batch = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // cfg.SOLVER.ACCUMULATE
        start = start_iter * cfg.SOLVER.ACCUMULATE * batch
        sampler = PositionSampler(TrainingSampler(len(pictures), seed=cfg.SEED), start)
        return Loader(data, batch, sampler=sampler, drop_last=True, collate_fn=list, **loader_options(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        predicted = json.loads(_beside(cfg, _PREDICTED).read_text())
        data = WholeImages(open_split(cfg, "val"), predicted)
        loader = Loader(data, 1, sampler=InferenceSampler(len(data)), collate_fn=list, **loader_options(cfg))
        return progress(loader, desc=dataset_name, unit="img", leave=False)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> LocalisationEvaluator:
        return LocalisationEvaluator()

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        tested = model if cfg.LOCALISATION.STAGE == "rpn" else Localiser(trained(cfg, "rpn"), model)
        return super().test(cfg, tested)

    @classmethod
    def metadata(cls, cfg: CfgNode) -> dict:
        return {
            "task": f"localisation, {cfg.LOCALISATION.STAGE}",
            "arch": cfg.LOCALISATION.ARCH,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "channel_order": "RGB",
            "classes": list(cfg.LOCALISATION.CLASSES),
        }

    def load_weights(self, plan: RunPlan) -> None:
        if plan.weights:
            state = backbone_state(plan.weights)
            log.info("loaded %s", load_state(self.checkpointer.model.network, state, plan.weights.path))


def _beside(cfg: CfgNode, name: str) -> Path:
    """A file or folder beside the stage's folder, OUTPUT_DIR."""
    return Path(cfg.OUTPUT_DIR).parent / name


def trained(cfg: CfgNode, stage: str) -> nn.Module:
    """The model that a stage beside this one, or this one, has trained, in evaluation mode.

    Raises:
        InputError: there is none, or it is of another network or of other classes.
    """
    path = _beside(cfg, stage) / "model_final.pth"
    model = _MODELS[stage](get_spec(cfg.LOCALISATION.ARCH).build(None), cfg)
    if not path.is_file():
        raise InputError(f"{path}: missing; train the stage {stage} first")
    load_state(model, weights_in(read_checkpoint(path), path).state, str(path))
    return model.to(cfg.MODEL.DEVICE).eval()


@torch.no_grad()
def propose(cfg: CfgNode) -> None:
    """Writes the RPN's boxes of the true class of every training image, where the file is missing.

    The RPN sees the whole image, at RESIZE where there are no TEST_SCALES, so that objects at the edge are trained on.
    """
    file = _beside(cfg, _PROPOSALS)
    if file.is_file():
        return
    rpn, data = trained(cfg, "rpn"), WholeImages(open_split(cfg, "train"), {})
    rpn.scales = rpn.scales or (rpn.resize,)
    loader = Loader(data, 1, sampler=InferenceSampler(len(data)), collate_fn=list, **loader_options(cfg))
    own = {
        entry["image_id"]: rpn.propose(entry["image"], entry["classes"])["boxes"][0].cpu()
        for (entry,) in progress(loader, desc="propose", unit="img", leave=False)
    }
    gathered = comm.gather(own)
    if comm.is_main_process():
        save_checkpoint({key: boxes for share in gathered for key, boxes in share.items()}, file)
    comm.synchronize()


def stage_config(cfg: CfgNode, stage: str) -> CfgNode:
    """The config of one stage, which runs in OUTPUT_DIR/STAGE."""
    own = cfg.clone()
    own.LOCALISATION.STAGE, own.OUTPUT_DIR = stage, str(Path(cfg.OUTPUT_DIR, stage))
    return own


def _predict(cfg: CfgNode) -> None:
    """Writes the predicted classes of the validation images."""
    predicted = predict_classes(cfg, cfg.MODEL.WEIGHTS)
    if comm.is_main_process():
        write_json(predicted, _beside(cfg, _PREDICTED))
    comm.synchronize()


def evaluate_stages(cfg: CfgNode, stages: Sequence[str]) -> dict[str, dict]:
    """Tests stages that are trained, such as at other TEST_SCALES; as `train_stages` otherwise."""
    results = {}
    for stage in stages:
        own = stage_config(cfg, stage)
        prepare(own, resume=False)
        if stage == stages[0]:
            _predict(own)
        model = trained(own, stage)
        results[stage] = LocalisationTrainer.test(own, model).get("loc", {})
    return _finish(cfg, results)


def _finish(cfg: CfgNode, results: dict[str, dict]) -> dict[str, dict]:
    if comm.is_main_process():
        log.info("%s", table(results))
        write_json(results, Path(cfg.OUTPUT_DIR, "results.json"))
    return results


def train_stages(cfg: CfgNode, stages: Sequence[str], *, resume: bool) -> dict[str, dict] | None:
    """Trains and tests the stages in OUTPUT_DIR/STAGE.

    Args:
        cfg: the config of the run.
        stages: "rpn", "rcnn" or both, in this order.
        resume: pass over a stage that is done, and go on with a stage that was stopped.

    Returns:
        {stage: errors in %}; None where SIGTERM stopped the run. They are in OUTPUT_DIR/results.json, too.

    Raises:
        InputError: a stage of another run lies in OUTPUT_DIR, and this run does not resume it.
    """
    begun = [stage for stage in stages if files_of_run(Path(cfg.OUTPUT_DIR, stage))]
    if begun and not (resume or is_restart()):
        raise InputError(
            f"OUTPUT_DIR: {cfg.OUTPUT_DIR} holds the stage {begun[0]} of another run; give --resume or another folder"
        )
    results, predicted = {}, False
    for stage in stages:
        own = stage_config(cfg, stage)
        folder, done = Path(own.OUTPUT_DIR), Path(own.OUTPUT_DIR, "results.json")
        if done.is_file():
            results[stage] = json.loads(done.read_text())
            continue
        plan = prepare(own, resume=(folder / "last_checkpoint").is_file())
        if comm.is_main_process():
            write_config(own)
        for line in plan.lines:
            log.info("%s", line)
        if not predicted:
            _predict(own)
            predicted = True
        if stage == "rcnn":
            propose(own)
        trainer = LocalisationTrainer(plan)
        if not trainer.train():
            return None
        results[stage] = trainer.evaluation.results["loc"]
        if comm.is_main_process():
            write_json(results[stage], done)
    return _finish(cfg, results)


def table(results: dict[str, dict]) -> str:
    """A text table of the errors in %, a row for the baseline and one for each stage."""
    names = list(dict.fromkeys(k for r in results.values() for k in r if k not in ("images", "centre_box_error")))
    first = next(iter(results.values()))
    rows = [["centre box, true class", first.get("centre_box_error")]]
    rows += [[stage, *(r.get(n) for n in names)] for stage, r in results.items()]
    return tabulate(
        rows, ["", *(n.replace("_", " ") for n in names)], tablefmt="github", floatfmt=".1f", missingval="-"
    )
