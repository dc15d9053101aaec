"""The trainer of both sides: detectron2's loop with files that appear whole, exact resume, and DDP on CPUs too."""

from __future__ import annotations

import functools
import logging
import weakref
from pathlib import Path

from residet.engine.checkpointer import RunCheckpointer
from residet.engine.divergence import DivergenceWarning
from residet.engine.hooks import BestCheckpoint, Evaluation, LogPrinter, MovingAverage, ProgressBar
from residet.engine.loaders import WorkerDied
from residet.engine.resume import STOP, RandomState, Saver, Stoppable, StopTraining
from residet.engine.step import Step
from residet.plan import RunPlan
from residet.summary import Forecast

import torch
from detectron2.config import CfgNode
from detectron2.engine import create_ddp_model, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from fvcore.common.history_buffer import HistoryBuffer
from torch import nn

log = logging.getLogger("residet")

_HISTORY = 1000  # latest values of a metric that are kept; the log's medians are over 20


class Trainer(TrainerBase):
    """detectron2's training loop for both sides.

    A side says build_model, build_train_loader, build_test_loader, build_evaluator, metadata and load_weights. Not a
    subclass of detectron2's DefaultTrainer, whose constructor cannot run DDP on CPUs, lets the statistics of BN drift
    apart between processes, and makes a checkpointer that writes files in place and loads leniently.

    Args:
        plan: the run, prepared.
    """

    def __init__(self, plan: RunPlan):
        super().__init__()
        cfg = self.cfg = plan.cfg
        self.command = plan.command
        self.max_iter = cfg.SOLVER.MAX_ITER
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        self.model = self.build_model(cfg)
        self.optimizer = self.build_optimizer(cfg, self.model)
        device_ids = None if cfg.MODEL.DEVICE == "cpu" else [comm.get_local_rank()]
        precision = cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else ""
        ddp_model = create_ddp_model(self.model, device_ids=device_ids)
        self.logged = min(20, cfg.TEST.EVAL_PERIOD or 20)
        # On a CPU a number costs nothing to fetch, and a loss that is not finite is found before the weights change.
        late = 1 if torch.device(cfg.MODEL.DEVICE).type == "cpu" else self.logged
        self.step = Step(ddp_model, self.optimizer, cfg.SOLVER.ACCUMULATE, precision, late)
        self.scheduler = self.build_lr_scheduler(cfg, self.optimizer)
        metadata = self.metadata(cfg) | {"train_data": plan.train_data}
        self.checkpointer = RunCheckpointer(self.model, cfg.OUTPUT_DIR, metadata, trainer=weakref.proxy(self))
        self.register_hooks(self.build_hooks())
        self._start(plan)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model on its device: batch -> losses in training, outputs in evaluation."""
        raise NotImplementedError

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """detectron2's SGD, with SOLVER's weight decays by kind of parameter."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer):
        """detectron2's scheduler of the name SOLVER.LR_SCHEDULER_NAME."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iter: int = 0):
        """Endless micro-batches of one process's share, from iteration `start_iter` on."""
        raise NotImplementedError

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        """Batches of the data set `dataset_name` for evaluation, the share of one process."""
        raise NotImplementedError

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str):
        """detectron2's DatasetEvaluator for the data set `dataset_name`."""
        raise NotImplementedError

    @classmethod
    def metadata(cls, cfg: CfgNode) -> dict:
        """What a checkpoint of the run says about itself: task, arch, mean, std, channel_order, classes."""
        raise NotImplementedError

    def load_weights(self, plan: RunPlan) -> None:
        """Fills the model from `plan.weights`; leaves the model as initialised where the plan has none.

        Raises:
            InputError: the weights do not fit.
        """
        raise NotImplementedError

    def _start(self, plan: RunPlan) -> None:
        """Takes the state that the plan starts from: a checkpoint's, or iteration 0 with weights from a file."""
        if plan.resume:
            self.checkpointer.restore(plan.checkpoint, plan.weights.path)
            self.start_iter = self.iter + 1
            log.info("resumed at iteration %d of %d", self.start_iter, self.max_iter)
        else:
            self.load_weights(plan)
        plan.release()
        self.step.data_loader = self.build_train_loader(self.cfg, self.start_iter)

    def train(self) -> bool:
        """Trains. Returns whether the run came to its end; a run that SIGTERM or SIGHUP stopped did not.

        Raises:
            KeyboardInterrupt: ctrl-C has stopped the run; the message says how to go on.
            WorkerDied: a process that loads images was killed. The run is saved.
        """
        STOP.install()  # before the hooks start: an exception out of a handler of others would find them half ready
        try:
            super().train(self.start_iter, self.max_iter)
        except StopTraining:
            return self.iter + 1 >= self.max_iter and not self.evaluation.pending
        except WorkerDied as e:
            raise WorkerDied(f"{e}; {self._save_before_iteration()}") from e
        except KeyboardInterrupt as e:
            raise e if e.args else KeyboardInterrupt(self._how_to_go_on()) from None
        finally:
            STOP.restore()
            self.step.data_loader = self.step._data_loader_iter_obj = None  # ends the workers of the loader
        return True

    def _how_to_go_on(self) -> str:
        """What to tell the user of a run that has ended within an iteration."""
        if not self.checkpointer.has_checkpoint():
            nothing = f"{self.cfg.OUTPUT_DIR} holds nothing to go on from: give the same command again"
            return f"interrupted before the first checkpoint; {nothing}"
        return f"interrupted; go on from {Path(self.checkpointer.get_checkpoint_file()).name} with: {self.command}"

    def _save_before_iteration(self) -> str:
        """Saves the state before an iteration that got no data. Returns what was saved, for the message."""
        if comm.get_world_size() > 1:  # every process has a part of the state, and the others wait for this one
            return "the last checkpoint is from before it"
        if not self.evaluation.pending and self.iter > self.start_iter:
            self.iter -= 1
            self.saver.save()
        saved = self.checkpointer.has_checkpoint()
        return f"the run is saved, go on with: {self.command}" if saved else "give the same command again"

    def before_train(self) -> None:
        # detectron2 would keep a million values of each metric: 2.5 KB more memory with every iteration.
        self.storage._history.default_factory = functools.partial(HistoryBuffer, _HISTORY)
        super().before_train()
        if self.evaluation.pending:  # a signal has ended the run in the evaluation of the iteration before this one
            self.iter = self.storage.iter = self.start_iter - 1
            self.evaluation.before_step()
            for hook in self._hooks[self._hooks.index(self.evaluation) :]:
                hook.after_step()

    def before_step(self) -> None:
        if self.iter >= self.max_iter:  # a hook has shortened the run
            raise StopTraining
        super().before_step()

    def run_step(self) -> None:
        self.step.iter = self.iter
        self.step.run_step()

    def state_dict(self) -> dict:
        self.step.write_late()  # no checkpoint holds weights of a loss that is not finite
        return super().state_dict() | {"_trainer": self.step.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.step.load_state_dict(state_dict["_trainer"])

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Evaluates the model on DATASETS.TEST.

        Returns:
            results of the one data set, or, of several, results by the name of the data set.
        """
        results = {}
        for name in cfg.DATASETS.TEST:
            loader, evaluator = cls.build_test_loader(cfg, name), cls.build_evaluator(cfg, name)
            results[name] = inference_on_dataset(model, Stoppable(loader), evaluator)
            if comm.is_main_process():
                print_csv_format(results[name])
        return results if len(results) > 1 else results[name]

    def build_hooks(self):
        """The hooks in the order in which they act: a checkpoint comes after everything that it must hold."""
        cfg = self.cfg
        average = None
        if cfg.SOLVER.EMA.DECAY:
            ema = cfg.SOLVER.EMA
            average = MovingAverage(self.checkpointer, ema.DECAY, ema.PERIOD, start=cfg.SOLVER.WARMUP_ITERS)
        self.evaluation = Evaluation(cfg.TEST.EVAL_PERIOD, lambda: self._evaluate(average))
        own = [hooks.IterationTimer(), ProgressBar(cfg.SOLVER.IMS_PER_BATCH), Forecast()]
        own += [*self.learning_hooks(), average]
        own += [DivergenceWarning(), self.evaluation, *self.evaluation_hooks()]
        if cfg.TEST.BEST_METRIC:
            best = average.averaged.module if average and "_ema/" in cfg.TEST.BEST_METRIC else None
            own.append(BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC, cfg.TEST.PATIENCE, best))
        if comm.is_main_process():
            # A writer takes the latest value of each metric, so it must write between two evaluations.
            own.append(hooks.PeriodicWriter(self.build_writers(), self.logged))
        self.saver = Saver(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINTS_KEPT, self.command)
        return [*own, RandomState(cfg.MODEL.DEVICE), self.saver]

    def build_writers(self) -> list:
        """Writers of the log, of metrics.json and of TensorBoard's events."""
        folder = Path(self.cfg.OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        return [LogPrinter(self.max_iter), JSONWriter(str(folder / "metrics.json")), TensorboardXWriter(str(folder))]

    def learning_hooks(self) -> list:
        """Hooks on the learning rate and the weights."""
        return [hooks.LRScheduler()]

    def evaluation_hooks(self) -> list:
        """Hooks on the results of an evaluation."""
        return []

    def _evaluate(self, average: MovingAverage | None) -> dict:
        self.step.write_late()
        # The plain weights last: the files that an evaluation leaves are theirs, as model_final.pth is.
        models = ({"_ema": average.averaged.module} if average else {}) | {"": self.checkpointer.model}
        results: dict[str, dict] = {}
        for suffix, model in models.items():
            if comm.get_world_size() > 1:  # each process has moved its statistics by its own last batch
                for buffer in model.buffers():
                    torch.distributed.broadcast(buffer, 0)
            results[suffix] = {name + suffix: values for name, values in (self.test(self.cfg, model) or {}).items()}
        return results[""] | results.get("_ema", {})
