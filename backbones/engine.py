"""detectron2's trainer with what both pretraining and detection need: whole files, a progress bar, DDP on CPU too."""

from __future__ import annotations

import logging
import sys
import weakref
from pathlib import Path

from backbones.errors import InputError
from backbones.files import read_checkpoint, save_checkpoint
from backbones.loading import load_state

from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, SimpleTrainer, create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from tqdm import tqdm

log = logging.getLogger("residet")


def progress(iterable=None, **options) -> tqdm:
    """A bar with rate and ETA on the console of the main process; where that is no terminal, a line now and then."""
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(
        iterable,
        disable=not comm.is_main_process(),
        mininterval=interval,
        dynamic_ncols=True,
        file=sys.stderr,
        **options,
    )


class RunCheckpointer(Checkpointer):
    """fvcore's, with metadata in the file, files that appear whole, and loading without unrestricted pickle."""

    def __init__(self, model: nn.Module, save_dir: str, metadata: dict, **checkpointables):
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.metadata = metadata

    def save(self, name: str, **extra) -> None:
        if not self.save_to_disk:
            return
        content = {"model": self.model.state_dict(), **self.metadata, **extra}
        content |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        save_checkpoint(content, path)
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        partial = Path(self.save_dir) / "last_checkpoint.partial"
        partial.write_text(last_filename_basename)
        partial.replace(partial.with_suffix(""))

    def _load_file(self, f: str) -> dict:
        self._file = f
        return read_checkpoint(f)

    def _load_model(self, checkpoint: dict) -> None:
        load_state(self.model, checkpoint.pop("model"), self._file)


def last_checkpoint(cfg) -> str:
    """Path of the checkpoint in OUTPUT_DIR that --resume goes on from."""
    return str(Path(cfg.OUTPUT_DIR) / Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text().strip())


def check_same_run(cfg, metadata: dict) -> None:
    """Raises InputError if the checkpoint to resume is of another task, arch or classes than `metadata`."""
    path = last_checkpoint(cfg)
    checkpoint = read_checkpoint(path)
    for key in ("task", "arch", "classes"):
        if checkpoint.get(key) != metadata[key]:
            raise InputError(
                f"--resume: {path}: {key} is {checkpoint.get(key)}, here it is {metadata[key]}; "
                "resume with the config and data that the run was started with"
            )


class ProgressBar(HookBase):
    """Iterations done, rate, ETA, total loss and learning rate."""

    def before_train(self):
        self._bar = progress(total=self.trainer.max_iter, initial=self.trainer.start_iter, desc="train", unit="it")

    def after_step(self):
        latest = self.trainer.storage.latest()
        shown = {name: f"{latest[key][0]:.3g}" for name, key in (("loss", "total_loss"), ("lr", "lr")) if key in latest}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def after_train(self):
        self._bar.close()


class Trainer(DefaultTrainer):
    """detectron2's DefaultTrainer for both sides.

    A side says build_model, build_train_loader, build_test_loader, build_evaluator, metadata and load_weights.
    """

    def __init__(self, cfg):
        # Not DefaultTrainer's: it cannot run DDP on the CPU, lets BN statistics drift apart between processes, and
        # its checkpointer writes files in place and loads leniently.
        TrainerBase.__init__(self)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        device_ids = None if cfg.MODEL.DEVICE == "cpu" else [comm.get_local_rank()]
        step = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = step(create_ddp_model(model, device_ids=device_ids), loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = RunCheckpointer(model, cfg.OUTPUT_DIR, self.metadata(cfg), trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

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

    def build_hooks(self):
        hooks = super().build_hooks()
        # Before the evaluation, whose own bar follows this one.
        return [*hooks[:1], ProgressBar(), *hooks[1:]]
