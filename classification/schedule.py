"""Schedules in the papers' units: epochs become detectron2's iterations; warm-up and steps by the error."""

from __future__ import annotations

import logging
from collections import deque

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch.optim.lr_scheduler import ReduceLROnPlateau

log = logging.getLogger("residet")

PLATEAU = "ReduceLROnPlateau"


def resolve_schedule(cfg: CfgNode, images: int) -> None:
    """Fills SOLVER's and TEST's iterations from epochs.

    Args:
        cfg: the config.
        images: number of training images.
    """
    per_epoch = max(images // cfg.SOLVER.IMS_PER_BATCH, 1)
    c, solver = cfg.CLASSIFICATION, cfg.SOLVER
    scale = c.SCHEDULE_SCALE
    if c.EPOCHS:
        solver.MAX_ITER = max(round(c.EPOCHS * scale * per_epoch), 1)
        steps = [epoch * scale * per_epoch for epoch in c.STEP_EPOCHS]
        if c.WARMUP_EPOCHS:
            solver.WARMUP_ITERS = round(c.WARMUP_EPOCHS * scale * per_epoch)
    else:
        solver.MAX_ITER = max(round(solver.MAX_ITER * scale), 1)
        steps = [step * scale for step in solver.STEPS]
        solver.WARMUP_ITERS = round(solver.WARMUP_ITERS * scale)
        c.SCHEDULE_SCALE = 1.0  # done: --resume reads the config that this run leaves, and must not scale again
    solver.STEPS = tuple(step for step in map(round, steps) if 0 < step < solver.MAX_ITER)
    if not cfg.TEST.PRECISE_BN.NUM_ITER:
        cfg.TEST.PRECISE_BN.NUM_ITER = per_epoch * solver.ACCUMULATE
    if c.EVAL_EPOCHS:
        cfg.TEST.EVAL_PERIOD = solver.CHECKPOINT_PERIOD = round(c.EVAL_EPOCHS * per_epoch)


class WarmUpUntilError(HookBase):
    """Multiplies the learning rate until the training error is low enough (ResNet, section 4.2, for 110 layers).

    The training error is the mean over the last 20 batches of all processes. Comes after the hook of the scheduler,
    which sets the learning rate of the next iteration.

    Args:
        optimizer: whose learning rate.
        error: in %.
        factor: what it multiplies by.
    """

    BATCHES = 20

    def __init__(self, optimizer, error: float, factor: float):
        self.optimizer = optimizer
        self.error = error
        self.factor = factor
        self.recent: deque[float] = deque(maxlen=self.BATCHES)
        self.warm_up = True

    def before_train(self):
        if self.trainer.start_iter == 0:
            self._scale()

    def after_step(self):
        if not self.warm_up:
            return
        self.trainer.step.write_late()  # the schedule depends on the error of each iteration
        errors = comm.all_gather(self.trainer.storage.latest()["train_error"][0])
        self.recent.append(sum(errors) / len(errors))
        mean = sum(self.recent) / len(self.recent)
        if len(self.recent) == self.BATCHES and mean < self.error:
            self.warm_up = False
            log.info("warm-up over after iteration %d: training error %.1f %%", self.trainer.iter, mean)
        else:
            self._scale()

    def _scale(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= self.factor

    def state_dict(self) -> dict:
        return {"warm_up": self.warm_up, "recent": list(self.recent)}

    def load_state_dict(self, state: dict) -> None:
        self.warm_up = state["warm_up"]
        self.recent.extend(state["recent"])


class PlateauSteps(HookBase):
    """Multiplies the learning rate when `metric` of the evaluations has not fallen for long (ResNet, section 3.4)."""

    def __init__(self, scheduler: ReduceLROnPlateau, metric: str):
        self.scheduler = scheduler
        self.metric = metric

    def after_step(self):
        group = self.scheduler.optimizer.param_groups[0]
        self.trainer.storage.put_scalar("lr", group["lr"], smoothing_hint=False)
        if self.trainer.fresh_results:
            self.scheduler.step(self.trainer.fresh_results[self.metric])

    def state_dict(self) -> dict:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.scheduler.load_state_dict(state)
