"""Hooks that let a run stop at any moment and go on exactly: random state, checkpoints, signals."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator

from residet.engine.checkpointer import RunCheckpointer

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

log = logging.getLogger("residet")

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# torchrun passes on the signal that a scheduler has sent to its processes too. What comes within this time after the
# first is the same wish.
_SAME_WISH = 3.0  # seconds
_ASKED = 10  # iterations, or batches of an evaluation, after which several processes ask each other for signals


class StopTraining(BaseException):
    """Raised to end the run after this iteration. Not an Exception, since detectron2 logs an Exception as a failure."""


class StopSignals:
    """Takes the signals of a process while it trains.

    The first signal asks the run to save and stop: a scheduler sends SIGTERM to a job that must make room for another
    job, a terminal that is closed sends SIGHUP, ctrl-C sends SIGINT. A second signal ends the run at once.

    Attributes:
        asked: name of the signal that asked the run to stop; "" without such a signal.
    """

    def __init__(self):
        self.asked = ""
        self._before: dict[signal.Signals, object] = {}
        self._wakeup = -1
        self._write = -1

    def install(self) -> None:
        """Takes the signals from now on. Only the main thread can; in another thread, nothing happens."""
        self.asked = ""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and so do its programs
                self._before[number] = signal.signal(number, self._ask)
        # Python calls its handlers between two steps of the interpreter. A thread of its own sees the second signal
        # also where the main thread hangs in a library.
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=_end_at_second, args=(read,), daemon=True).start()

    def _ask(self, number: int, _) -> None:
        self.asked = self.asked or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nstopping after this iteration; ctrl-C once more ends the run at once\n")

    def restore(self) -> None:
        """Gives the signals back to those who had them before, and forgets a signal that has arrived."""
        self.asked = ""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._write >= 0:
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._write)
            self._write = -1


def _end_at_second(read: int) -> None:
    """Reads the numbers of the signals that arrive, until the pipe is closed, and ends the process at the second."""
    first = None
    while arrived := os.read(read, 1):
        if arrived[0] not in SIGNALS or arrived[0] == signal.SIGINT:  # Python's own handler takes a second SIGINT
            continue
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > _SAME_WISH:
            os._exit(128 + arrived[0])
    os.close(read)


STOP = StopSignals()


class Stoppable:
    """Batches of an evaluation, which ends between two of them where a signal asks the run to stop.

    All processes end after the same number of batches. Several processes ask each other before every tenth batch.

    Args:
        batches: an iterable with a length, which may differ from process to process.

    Raises:
        StopTraining: with the name of the signal, while it is iterated.
    """

    def __init__(self, batches: Iterable):
        self.batches = batches

    def __iter__(self) -> Iterator:
        batches, at_end = iter(self.batches), False
        for number in itertools.count():
            if comm.get_world_size() == 1 or number % _ASKED == 0:
                asked, ended = zip(*comm.all_gather((STOP.asked, at_end)), strict=True)
                if name := max(asked):
                    raise StopTraining(name)
                if all(ended):
                    return
            batch = next(batches, None)
            at_end = batch is None
            if not at_end:
                yield batch

    def __len__(self) -> int:
        return len(self.batches)


class RandomState(HookBase):
    """Restores the state of all random number generators when a run resumes, in each process.

    If the number of processes has changed, the generators stay as they are and a warning is logged.

    Args:
        device: the device of the model, such as "cuda:1"; "cuda" is the present device of the process.
    """

    def __init__(self, device: str):
        self.device = torch.device(device)
        self._restored: list = []

    def before_train(self):
        if len(self._restored) == comm.get_world_size():
            _set_random_state(self._restored[comm.get_rank()], self.device)
        elif self._restored:
            log.warning("resumed with another number of processes: random numbers differ from the first run's")

    def state_dict(self) -> dict:
        return {"ranks": comm.all_gather(_random_state(self.device))}

    def load_state_dict(self, state: dict) -> None:
        self._restored = state["ranks"]


def _random_state(device: torch.device) -> dict:
    kind, keys, *position = np.random.get_state()
    state = {"torch": torch.get_rng_state(), "python": random.getstate()}
    state["numpy"] = (kind, torch.from_numpy(keys.astype(np.int64)), *position)
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict, device: torch.device) -> None:
    kind, keys, *position = state["numpy"]
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


class Saver(HookBase):
    """Writes a checkpoint every `period` iterations and at the end. When a signal asks, writes one and ends the run.

    Args:
        checkpointer: writes the files.
        period: iterations between two checkpoints.
        keep: number of intermediate checkpoints that stay; 0 keeps all.
        command: the command that goes on with a stopped run, for the log.
    """

    def __init__(self, checkpointer: RunCheckpointer, period: int, keep: int, command: str):
        self.checkpointer = checkpointer
        self.period = period
        self.keep = keep
        self.command = command

    def after_step(self):
        done = self.trainer.iter + 1
        if done >= self.trainer.max_iter:
            self.checkpointer.save("model_final")
            return
        name = self._asked(done)
        if name or done % self.period == 0:
            self.save()
        if name:
            self.stop(name, "saved")

    def save(self) -> None:
        """Writes the checkpoint of the present iteration."""
        self.checkpointer.save(f"model_{self.trainer.iter:07d}")
        if self.keep:
            self.checkpointer.keep_latest(self.keep)

    def stop(self, name: str, what: str) -> None:
        """Ends the run after the present iteration.

        Args:
            name: of the signal that asked for it.
            what: what was done, for the log.
        """
        log.info("stopped by %s after iteration %d, %s; go on with: %s", name, self.trainer.iter, what, self.command)
        raise KeyboardInterrupt("interrupted") if name == "SIGINT" else StopTraining

    def _asked(self, done: int) -> str:
        """The name of the signal that has asked a process of the run to stop, or ""."""
        # The signal reaches the processes at different times, but they must stop after the same iteration. Asking all
        # processes takes time.
        if comm.get_world_size() > 1 and done % _ASKED:
            return ""
        return max(comm.all_gather(STOP.asked))
