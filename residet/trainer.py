"""detectron2's trainer with what both pretraining and detection need: whole files, exact resume, DDP on CPU too."""

from __future__ import annotations

import logging
import weakref

from backbones.errors import InputError
from residet.checkpointer import RunCheckpointer
from residet.hooks import BestCheckpoint, Evaluation, LogPrinter, MovingAverage, ProgressBar
from residet.resume import RandomState, Saver, StopTraining
from residet.step import PRECISIONS, Step

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, create_ddp_model, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from torch import nn

log = logging.getLogger("residet")


def add_engine_config(cfg: CfgNode) -> None:
    """Adds the keys of the engine to detectron2's SOLVER and TEST."""
    # Parts that a process computes its share of SOLVER.IMS_PER_BATCH in, one after the other; one update for all.
    cfg.SOLVER.ACCUMULATE = 1
    # Of SOLVER.AMP: "float16" (with a gradient scaler) or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Scales SOLVER.BASE_LR by SOLVER.IMS_PER_BATCH / this; 0 leaves it.
    cfg.SOLVER.SCALE_LR_FROM_BATCH = 0
    # How many of the checkpoints on the way stay, beside model_best.pth and model_final.pth; 0 for all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 0
    # Exponential moving average of the weights from the end of the warm-up on, evaluated beside them and saved; none
    # where DECAY is 0.
    cfg.SOLVER.EMA = CfgNode({"DECAY": 0.0, "PERIOD": 1})
    # Keeps the state that is best by this result, such as val/top1_error or bbox/AP, as model_best.pth; "" for none.
    cfg.TEST.BEST_METRIC = ""
    # Evaluations in a row without a better TEST.BEST_METRIC after which the run ends; 0 for never.
    cfg.TEST.PATIENCE = 0


def check_engine(cfg: CfgNode) -> list[str]:
    """Checks the engine's keys, and scales the learning rate where it is asked for.

    Returns:
        lines on what was changed, for the log.

    Raises:
        InputError: a key has a value that cannot be used.
    """
    solver = cfg.SOLVER
    if solver.AMP.DTYPE not in PRECISIONS:
        raise InputError(f"SOLVER.AMP.DTYPE: {solver.AMP.DTYPE!r} is none of {', '.join(PRECISIONS)}")
    parts = comm.get_world_size() * solver.ACCUMULATE
    if solver.ACCUMULATE < 1 or solver.IMS_PER_BATCH % parts:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH: {solver.IMS_PER_BATCH} is no multiple of {comm.get_world_size()} processes x "
            f"{solver.ACCUMULATE} parts (SOLVER.ACCUMULATE)"
        )
    if cfg.TEST.PATIENCE and not cfg.TEST.BEST_METRIC:
        raise InputError("TEST.PATIENCE: name the metric that should improve, TEST.BEST_METRIC")
    if not 0 <= solver.EMA.DECAY < 1:
        raise InputError(f"SOLVER.EMA.DECAY: {solver.EMA.DECAY} is not from 0 to below 1")
    for key, period in (("EMA.PERIOD", solver.EMA.PERIOD), ("CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD)):
        if period < 1:
            raise InputError(f"SOLVER.{key}: {period} is no number of iterations")
    lines = []
    if cfg.SEED < 0:
        cfg.SEED = comm.shared_random_seed() % 2**31
        lines.append(f"SEED {cfg.SEED}, drawn; --resume must be given it")
    reference = solver.SCALE_LR_FROM_BATCH
    if not reference:
        return lines
    before, batch = solver.BASE_LR, solver.IMS_PER_BATCH
    solver.BASE_LR = before * batch / reference
    solver.SCALE_LR_FROM_BATCH = 0  # done: the config that the run leaves behind would scale again
    return [*lines, f"learning rate {before:g} scaled to {solver.BASE_LR:g}: a batch of {batch}, not {reference}"]


class Trainer(DefaultTrainer):
    """detectron2's DefaultTrainer for both sides.

    A side says build_model, build_train_loader, build_test_loader, build_evaluator, metadata and load_weights.
    """

    def __init__(self, cfg):
        # Not DefaultTrainer's: it cannot run DDP on the CPU, lets BN statistics drift apart between processes, and
        # its checkpointer writes files in place and loads leniently.
        TrainerBase.__init__(self)
        self.cfg = cfg
        self.max_iter = cfg.SOLVER.MAX_ITER
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        device_ids = None if cfg.MODEL.DEVICE == "cpu" else [comm.get_local_rank()]
        precision = cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else ""
        self._trainer = Step(
            create_ddp_model(model, device_ids=device_ids), optimizer, cfg.SOLVER.ACCUMULATE, precision
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = RunCheckpointer(model, cfg.OUTPUT_DIR, self.metadata(cfg), trainer=weakref.proxy(self))
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_train_loader(cls, cfg, start_iter: int = 0):
        """Batches from iteration `start_iter` on, endless, of one part of one process's share each."""
        raise NotImplementedError

    @classmethod
    def metadata(cls, cfg) -> dict:
        """What a checkpoint says about itself: task, arch, mean, std, channel_order, classes."""
        raise NotImplementedError

    @classmethod
    def load_weights(cls, cfg, model: nn.Module) -> None:
        """Fills the model from cfg.MODEL.WEIGHTS; leaves it as initialised where that is empty."""
        raise NotImplementedError

    def resume_or_load(self, resume: bool = True) -> None:
        if resume:
            self.checkpointer.load(self.checkpointer.get_checkpoint_file())
            self.start_iter = self.iter + 1
            log.info("resumed at iteration %d of %d", self.start_iter, self.max_iter)
        else:
            self.load_weights(self.cfg, self.checkpointer.model)
        self._trainer.data_loader = self.build_train_loader(self.cfg, self.start_iter)

    def train(self) -> bool:
        """Trains. Returns whether it came to the end; a run that SIGTERM stopped did not."""
        try:
            TrainerBase.train(self, self.start_iter, self.max_iter)
        except StopTraining:
            return self.iter + 1 >= self.max_iter
        finally:
            self._trainer.data_loader = self._trainer._data_loader_iter_obj = None  # ends its workers
        return True

    def before_step(self):
        if self.iter >= self.max_iter:  # a hook has shortened the run
            raise StopTraining
        super().before_step()

    def build_hooks(self):
        """In the order in which they act: a checkpoint comes after all that it must hold."""
        cfg = self.cfg
        average = None
        if cfg.SOLVER.EMA.DECAY:
            ema = cfg.SOLVER.EMA
            average = MovingAverage(self.checkpointer, ema.DECAY, ema.PERIOD, start=cfg.SOLVER.WARMUP_ITERS)
        self.evaluation = Evaluation(cfg.TEST.EVAL_PERIOD, lambda: self._evaluate(average))
        found = [hooks.IterationTimer(), ProgressBar(cfg.SOLVER.IMS_PER_BATCH), *self.learning_hooks(), average]
        found += [self.evaluation, *self.evaluation_hooks()]
        if cfg.TEST.BEST_METRIC:
            best = average.averaged.module if average and "_ema/" in cfg.TEST.BEST_METRIC else None
            found.append(BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC, cfg.TEST.PATIENCE, best))
        if comm.is_main_process():
            # A writer takes the latest value of each metric: none of two evaluations must fall between.
            found.append(hooks.PeriodicWriter(self.build_writers(), min(20, cfg.TEST.EVAL_PERIOD or 20)))
        return [
            *found,
            RandomState(),
            Saver(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINTS_KEPT),
        ]

    def build_writers(self) -> list:
        _, *others = super().build_writers()
        return [LogPrinter(self.max_iter), *others]

    def learning_hooks(self) -> list:
        """Hooks on the learning rate and the weights."""
        return [hooks.LRScheduler()]

    def evaluation_hooks(self) -> list:
        """Hooks on the results of an evaluation."""
        return []

    def _evaluate(self, average: MovingAverage | None) -> dict:
        # The plain weights last: the files that an evaluation leaves are theirs, as model_final.pth is.
        models = ({"_ema": average.averaged.module} if average else {}) | {"": self.checkpointer.model}
        results: dict[str, dict] = {}
        for suffix, model in models.items():
            if comm.get_world_size() > 1:  # each process has moved its statistics by its own last batch
                for buffer in model.buffers():
                    torch.distributed.broadcast(buffer, 0)
            results[suffix] = {name + suffix: values for name, values in (self.test(self.cfg, model) or {}).items()}
        return results[""] | results.get("_ema", {})
