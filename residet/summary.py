"""What a run says at its start: what was decided, and its length in minutes once some iterations are measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from residet.plan import RunPlan

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

log = logging.getLogger("residet")

_NAMED_CLASSES = 10


def summarise(plan: RunPlan, network: str, classes: Sequence[str], images: int, phases: Sequence[str] = ()) -> None:
    """Adds the lines to the plan that say what was decided.

    Args:
        plan: the plan of the run, with everything filled in.
        network: the network, in words.
        classes: names of the classes.
        images: number of training images; 0 for a run that only evaluates.
        phases: names of the phases of a training in several, each of which has a schedule of its own.
    """
    cfg = plan.cfg
    named = ", ".join(classes[:_NAMED_CLASSES]) + (", …" if len(classes) > _NAMED_CLASSES else "")
    facts = {"classes": f"{len(classes)}: {named}", "network": network, "weights": _weights(plan)}
    if images:
        facts["schedule"] = f"phases {', '.join(phases)}" if phases else schedule(cfg, images)
    facts |= {"device": _device(cfg), "precision": precision(cfg), "seed": str(cfg.SEED)}
    facts["results"] = f"{cfg.OUTPUT_DIR}: model_final.pth, results.json, log.txt" if images else cfg.OUTPUT_DIR
    plan.lines += [_line(name, text) for name, text in facts.items()]
    plan.lines += _warnings(cfg) if images and not phases else []


def _line(name: str, text: str) -> str:
    return f"{name + ':':12}{text}"


def _weights(plan: RunPlan) -> str:
    weights = plan.weights
    if weights is None:
        return "random"
    if plan.resume:
        return f"as they are in {weights.path}, from which the run goes on"
    kind = "detector" if weights.is_detector else "classifier"
    return f"{weights.path}, a {kind}" + (f" of {len(weights.classes)} classes" if weights.classes else "")


def schedule(cfg: CfgNode, images: int) -> str:
    """The schedule of a training on so many images, in words."""
    solver = cfg.SOLVER
    passes = solver.MAX_ITER * solver.IMS_PER_BATCH / images
    steps = [step for step in solver.STEPS if step < solver.MAX_ITER] if _falls_in_steps(cfg) else []
    return (
        f"{solver.MAX_ITER} iterations of {solver.IMS_PER_BATCH} images, {passes:.3g} passes over {images} images; "
        f"learning rate {solver.BASE_LR:g}, {solver.LR_SCHEDULER_NAME}, warm-up {solver.WARMUP_ITERS}"
        + (f", steps at {', '.join(map(str, steps))}" if steps else "")
    )


def _falls_in_steps(cfg: CfgNode) -> bool:
    return cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR"


def _warnings(cfg: CfgNode) -> list[str]:
    """Lines on a schedule of another length than the run, as a user gets who sets SOLVER.MAX_ITER alone."""
    solver, lines = cfg.SOLVER, []
    if 0 < solver.MAX_ITER <= solver.WARMUP_ITERS:
        lines.append(
            f"warning: SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, so that the run of {solver.MAX_ITER} iterations "
            f"is over before the warm-up is; set SOLVER.WARMUP_ITERS, such as {solver.MAX_ITER // 20}"
        )
    if _falls_in_steps(cfg) and solver.STEPS and min(solver.STEPS) >= solver.MAX_ITER:
        two = (solver.MAX_ITER * 2 // 3, solver.MAX_ITER * 8 // 9)
        lines.append(
            f"warning: SOLVER.STEPS are {list(solver.STEPS)}, so that the learning rate does not fall in the run of "
            f'{solver.MAX_ITER} iterations; set SOLVER.STEPS, such as "{two}"'
        )
    return lines


def _device(cfg: CfgNode) -> str:
    name, processes = cfg.MODEL.DEVICE, comm.get_world_size()
    if torch.device(name).type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name += f", {torch.get_num_threads()} threads"
    return name if processes == 1 else f"{processes} processes, each on {name}"


def precision(cfg: CfgNode) -> str:
    """The number format of a training, in words."""
    return f"{cfg.SOLVER.AMP.DTYPE} where torch's autocast allows" if cfg.SOLVER.AMP.ENABLED else "float32"


class Forecast(HookBase):
    """Says how many parameters the network has, and after some iterations how many minutes the run takes.

    Args:
        skipped: number of iterations that are not measured: the loader starts, and cuDNN tries its algorithms.
        measured: number of iterations that are.
    """

    def __init__(self, skipped: int = 5, measured: int = 15):
        self.skipped = skipped
        self.measured = measured

    def before_train(self):
        sizes = [(p.numel(), p.requires_grad) for p in self.trainer.model.parameters()]
        total, trained = sum(n for n, _ in sizes) / 1e6, sum(n for n, grad in sizes if grad) / 1e6
        log.info("%s", _line("parameters", f"{total:.2f} million, {trained:.2f} million of them trained"))

    def after_step(self):
        done = self.trainer.iter + 1 - self.trainer.start_iter
        if done == self.skipped:
            self._start = time.perf_counter()
        elif done == self.skipped + self.measured:
            seconds = (time.perf_counter() - self._start) / self.measured
            left = self.trainer.max_iter - self.trainer.iter - 1
            minutes = left * seconds / 60
            text = f"about {minutes:.0f} minutes more" if minutes >= 1 else "less than a minute more"
            log.info("%s", _line("length", f"{text}, {left} iterations of {seconds:.2g} s, without evaluations"))
