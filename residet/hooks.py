"""Hooks of detectron2's trainer that pretraining and detection share.

What a hook must remember over a resume is in its state dict, which the checkpoint holds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from backbones.errors import InputError
from residet.checkpointer import RunCheckpointer
from residet.progress import progress

import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

log = logging.getLogger("residet")


class ProgressBar(HookBase):
    """Iterations done, rate, ETA, images per second, total loss and learning rate."""

    def __init__(self, batch: int):
        self.batch = batch

    def before_train(self):
        self._bar = progress(total=self.trainer.max_iter, initial=self.trainer.start_iter, desc="train", unit="it")

    def after_step(self):
        latest = self.trainer.storage.latest()
        shown = {name: f"{latest[key][0]:.3g}" for name, key in (("loss", "total_loss"), ("lr", "lr")) if key in latest}
        if "time" in latest:
            shown["img/s"] = f"{self.batch / self.trainer.storage.history('time').median(20):.0f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def after_train(self):
        self._bar.close()


class MovingAverage(HookBase):
    """Exponential moving average of parameters and statistics, `averaged.module`.

    At the end it is written as model_ema.pth.

    Args:
        checkpointer: of the model that is trained.
        decay: weight of the average at each update.
        period: iterations between two updates.
        start: until this iteration the average is a copy.
    """

    def __init__(self, checkpointer: RunCheckpointer, decay: float, period: int, start: int = 0):
        self.checkpointer = checkpointer
        self.model = model = checkpointer.model
        self.period = period
        self.start = start
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def before_train(self):
        if self.averaged.n_averaged == 0:  # weights from a file have come since
            self.averaged.module.load_state_dict(self.model.state_dict())

    def after_step(self):
        if (self.trainer.iter + 1) % self.period == 0:
            if self.trainer.iter < self.start:
                self.averaged.n_averaged.zero_()
            self.averaged.update_parameters(self.model)
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.checkpointer.save_model(self.averaged.module, "model_ema")

    def state_dict(self) -> dict:
        return {"model": self.averaged.module.state_dict(), "updates": self.averaged.n_averaged}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.module.load_state_dict(state["model"])
        self.averaged.n_averaged.copy_(state["updates"])


class PreciseStatistics(HookBase):
    """Replaces BN's running statistics by those of the present weights over training data, averaged over processes.

    Args:
        module: the network.
        inputs: makes the training data: () -> batches as `module` takes them.
        batches: number of batches.
        period: iterations between two replacements; 0 replaces the statistics at the end only.

    Raises:
        InputError: the network has no BN that trains.
    """

    def __init__(self, module: nn.Module, inputs: Callable[[], Iterable], batches: int, period: int = 0):
        if not get_bn_modules(module):
            raise InputError("TEST.PRECISE_BN.ENABLED: the network has no BN that trains; leave the key out, or use BN")
        self.module = module
        self.inputs = inputs
        self.batches = batches
        self.period = period

    def after_step(self):
        done = self.trainer.iter + 1
        if done < self.trainer.max_iter and (not self.period or done % self.period):
            return
        log.info("BN statistics over %d batches", self.batches)
        with EventStorage():  # keeps the losses of these batches out of the metrics
            update_bn_stats(self.module, self.inputs(), self.batches, progress=None)
        if comm.get_world_size() > 1:
            for name, buffer in self.module.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    torch.distributed.all_reduce(buffer)
                    buffer /= comm.get_world_size()


class LogPrinter(CommonMetricPrinter):
    """detectron2's line of an iteration in log.txt, which a run may also write twice before iterations are timed."""

    def _get_eta(self, storage: EventStorage) -> str | None:
        try:
            return super()._get_eta(storage)
        except ZeroDivisionError:  # stopped right after a line: it divides by the iterations since
            return None


class Evaluation(HookBase):
    """Evaluates every `period` iterations (0: never before the end) and at the end.

    The results, {"data set/metric": value}, are `trainer.fresh_results` in every process until the next iteration;
    `results` keeps the last ones as the evaluator gave them.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict]):
        self.period = period
        self.evaluate = evaluate
        self.results: dict = {}

    def before_step(self):
        self.trainer.fresh_results = {}

    def after_step(self):
        done = self.trainer.iter + 1
        if done < self.trainer.max_iter and (not self.period or done % self.period):
            return
        self.results = _plain(comm.all_gather(self.evaluate())[0])
        flat = {k: float(v) for k, v in flatten_results_dict(self.results).items()}
        self.trainer.fresh_results = flat
        self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        comm.synchronize()

    def state_dict(self) -> dict:
        return {"results": self.results}

    def load_state_dict(self, state: dict) -> None:
        self.results = state["results"]


def _plain(results: dict) -> dict:
    """Without numpy's scalars, which a checkpoint must not hold."""
    return {k: _plain(v) if isinstance(v, dict) else v if isinstance(v, int) else float(v) for k, v in results.items()}


class BestCheckpoint(HookBase):
    """Keeps the best state of the run so far as model_best.pth; ends the run when nothing has improved for long.

    Args:
        checkpointer: writes it.
        metric: "data set/metric" of the results; an error or a loss, by its own or its group's name, is
            better when lower.
        patience: evaluations without improvement before the run ends; 0 for never.
        model: whose parameters are kept, where they are not those that are trained.
    """

    def __init__(self, checkpointer: RunCheckpointer, metric: str, patience: int, model: nn.Module | None = None):
        self.checkpointer = checkpointer
        self.model = model
        self.metric = metric
        self.patience = patience
        group, _, name = metric.rpartition("/")
        lower = name.endswith(("error", "loss")) or group.rsplit("/", 1)[-1].startswith(("errors", "validation"))
        self.sign = -1 if lower else 1
        self.best: float | None = None
        self.best_iter = -1
        self.stale = 0

    def before_train(self):
        if self.patience and self.stale >= self.patience:  # decided, and killed before the end
            self.trainer.max_iter = min(self.trainer.max_iter, self.trainer.start_iter + 1)

    def after_step(self):
        results = self.trainer.fresh_results
        if not results:
            return
        if self.metric not in results:
            raise InputError(f"TEST.BEST_METRIC: {self.metric} is none of {', '.join(sorted(results))}")
        value = results[self.metric]
        better = self.best is None or self.sign * value > self.sign * self.best
        if better and not math.isnan(value):
            self.best, self.best_iter, self.stale = value, self.trainer.iter, 0
            self.checkpointer.save("model_best", resumable=False, model=self.model)
            return
        self.stale += 1
        if self.patience and self.stale == self.patience and self.trainer.iter + 2 < self.trainer.max_iter:
            log.info(
                "%s has not improved on %s of iteration %d for %d evaluations: stopping",
                self.metric,
                self.best,
                self.best_iter,
                self.patience,
            )
            self.trainer.max_iter = self.trainer.iter + 2  # one more, which does what is to be done at the end

    def state_dict(self) -> dict:
        return {"best": self.best, "best_iter": self.best_iter, "stale": self.stale}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.best_iter, self.stale = state["best"], state["best_iter"], state["stale"]
