"""Hooks of the trainer, for pretraining and detection.

The trainer saves the state dict of every hook in a checkpoint, so that a resumed run can restore the hook.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from backbones.errors import InputError
from residet.engine.checkpointer import RunCheckpointer
from residet.engine.loaders import WorkerDied
from residet.engine.resume import StopTraining
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
    """Shows a bar with iterations, rate, ETA, images per second, total loss and learning rate.

    Args:
        batch: number of images in an iteration, over all processes.
    """

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
    """Keeps the exponential moving average of the model's parameters and of its norms' statistics.

    Writes the averaged model as model_ema.pth at the end of the run.

    Args:
        checkpointer: writes the file; its model is the model that is averaged.
        decay: factor of the old average in an update; the present value gets 1 - decay.
        period: iterations between two updates.
        start: before this iteration an update copies the present values instead of averaging.

    Attributes:
        averaged: torch's AveragedModel; `averaged.module` is the averaged model.
    """

    def __init__(self, checkpointer: RunCheckpointer, decay: float, period: int, start: int = 0):
        self.checkpointer = checkpointer
        self.model = model = checkpointer.model
        self.period = period
        self.start = start
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def before_train(self):
        if self.averaged.n_averaged == 0:  # the model may have got weights from a file after __init__ copied the model
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
    """Writes detectron2's line about an iteration to log.txt.

    detectron2's own printer fails if it writes two lines in the same iteration before the iterations are timed.
    """

    def _get_eta(self, storage: EventStorage) -> str | None:
        try:
            return super()._get_eta(storage)
        except ZeroDivisionError:  # detectron2 divides by the number of iterations since its last line
            return None


class Evaluation(HookBase):
    """Evaluates the model every `period` iterations and at the end.

    Sets `trainer.fresh_results` to the results, {"data set/metric": value}, in every process. In an iteration without
    evaluation, `trainer.fresh_results` is {}.

    Args:
        period: iterations between two evaluations; 0 evaluates at the end only.
        evaluate: evaluates the model: () -> results in the main process.

    Attributes:
        results: the results of the last evaluation, nested as `evaluate` returned them.
        pending: the evaluation of the present iteration has not come to its end.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict]):
        self.period = period
        self.evaluate = evaluate
        self.results: dict = {}
        self.pending = False

    def before_step(self):
        self.trainer.fresh_results = {}

    def after_step(self):
        done = self.trainer.iter + 1
        if done < self.trainer.max_iter and (not self.period or done % self.period):
            return
        self.pending = True
        try:
            results = self.evaluate()
        except StopTraining as signal:
            self.trainer.saver.save()
            self.trainer.saver.stop(str(signal), "saved, its evaluation is still to come")
        except WorkerDied:
            if comm.get_world_size() == 1:  # of several processes, each has a part of the state
                self.trainer.saver.save()
            raise
        self.pending = False
        self.results = _plain(comm.all_gather(results)[0])
        flat = {k: float(v) for k, v in flatten_results_dict(self.results).items()}
        self.trainer.fresh_results = flat
        self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        comm.synchronize()

    def state_dict(self) -> dict:
        return {"results": self.results, "pending": self.pending}

    def load_state_dict(self, state: dict) -> None:
        self.results, self.pending = state["results"], state.get("pending", False)


def _plain(results: dict) -> dict:
    """Turns numpy's scalars into floats, since a checkpoint must not hold numpy's."""
    return {k: _plain(v) if isinstance(v, dict) else v if isinstance(v, int) else float(v) for k, v in results.items()}


class BestCheckpoint(HookBase):
    """Keeps the state of the run with the best results as model_best.pth, and ends a run that no longer improves.

    Args:
        checkpointer: writes the file.
        metric: "data set/metric" in the results. Lower is better if the metric ends in "error" or "loss", or if the
            part before the metric begins with "errors" or "validation"; otherwise higher is better.
        patience: number of evaluations in a row without improvement after which the run ends; 0 for never.
        model: the model whose parameters are kept; None for the trained model.

    Raises:
        InputError: the results have no such metric.
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
        if self.patience and self.stale >= self.patience:  # the run was killed after it had decided to end
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
            # One more iteration, in which every hook does its work at the end of a run.
            self.trainer.max_iter = self.trainer.iter + 2

    def state_dict(self) -> dict:
        return {"best": self.best, "best_iter": self.best_iter, "stale": self.stale}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.best_iter, self.stale = state["best"], state["best_iter"], state["stale"]
