"""Hooks that let a run stop at any moment and go on exactly: random state, checkpoints, SIGTERM and ctrl-C."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading

from residet.checkpointer import RunCheckpointer

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

log = logging.getLogger("residet")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopTraining(BaseException):
    """Raised to end the run after this iteration. Not an Exception, since detectron2 logs an Exception as a failure."""


class RandomState(HookBase):
    """Restores the state of all random number generators when a run resumes, in each process.

    If the number of processes has changed, the generators stay as they are and a warning is logged.
    """

    def __init__(self):
        self._restored: list = []

    def before_train(self):
        if len(self._restored) == comm.get_world_size():
            _set_random_state(self._restored[comm.get_rank()])
        elif self._restored:
            log.warning("resumed with another number of processes: random numbers differ from the first run's")

    def state_dict(self) -> dict:
        return {"ranks": comm.all_gather(_random_state())}

    def load_state_dict(self, state: dict) -> None:
        self._restored = state["ranks"]


def _random_state() -> dict:
    kind, keys, *position = np.random.get_state()
    state = {"torch": torch.get_rng_state(), "python": random.getstate()}
    state["numpy"] = (kind, torch.from_numpy(keys.astype(np.int64)), *position)
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict) -> None:
    kind, keys, *position = state["numpy"]
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class Saver(HookBase):
    """Writes a checkpoint every `period` iterations and at the end. On a signal to stop, writes one and ends the run.

    A scheduler sends SIGTERM to a job that must make room for another; a terminal sends SIGINT for ctrl-C. A second
    ctrl-C ends the run at once.

    Args:
        checkpointer: writes the files.
        period: iterations between two checkpoints.
        keep: number of intermediate checkpoints that stay; 0 keeps all.
        command: the command that goes on with the run, for the message.
    """

    def __init__(self, checkpointer: RunCheckpointer, period: int, keep: int = 0, command: str = ""):
        self.checkpointer = checkpointer
        self.period = period
        self.keep = keep
        self.command = command
        self._signal = 0  # number of the signal that has asked the run to stop

    def before_train(self):
        self._restore = {}
        if threading.current_thread() is threading.main_thread():
            self._restore = {number: signal.signal(number, self._ask) for number in STOP_SIGNALS}

    def _ask(self, number: int, _) -> None:
        self._signal = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nstopping after this iteration; ctrl-C once more ends the run at once\n")

    def after_step(self):
        done = self.trainer.iter + 1
        if done >= self.trainer.max_iter:
            self.checkpointer.save("model_final")
            return
        stop = self._stop(done)
        if stop or done % self.period == 0:
            self.checkpointer.save(f"model_{self.trainer.iter:07d}")
            if self.keep:
                self.checkpointer.keep_latest(self.keep)
        if stop:
            name = signal.Signals(stop).name
            log.info("stopped by %s after iteration %d, saved; go on with: %s", name, self.trainer.iter, self.command)
            raise KeyboardInterrupt("interrupted") if stop == signal.SIGINT else StopTraining

    def _stop(self, done: int) -> int:
        """The number of the signal that has asked a process of the run to stop, or 0."""
        # The signal reaches the processes at different times, but they must stop after the same iteration. Asking all
        # processes takes time, so they ask every 10 iterations only.
        if comm.get_world_size() > 1 and done % 10:
            return 0
        return max(comm.all_gather(self._signal))

    def after_train(self):
        for number, handler in self._restore.items():
            signal.signal(number, handler)
