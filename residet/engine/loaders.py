"""Loaders of pretraining and detection: random numbers by position in the run; workers that no signal to stop ends."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing.util
import random
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence

from backbones.errors import InputError
from residet.engine.resume import SIGNALS

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler


@contextlib.contextmanager
def seeded(numbers: Sequence[int]) -> Iterator[None]:
    """A context in which the random numbers of torch (on the CPU), numpy and Python depend on `numbers` alone.

    On leaving the context, the three generators go on as before.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


class PositionSampler(Sampler):
    """Yields (position in the run, index of the image) for the images that a process trains on.

    The position counts the images of all processes, so no two images of the run have the same position.

    Args:
        indices: the endless indices of this process, as a training sampler of detectron2 gives them for a seed.
        start: number of indices to pass over.
    """

    def __init__(self, indices: Iterable[int], start: int):
        self.indices = indices
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number, index in enumerate(itertools.islice(self.indices, self.start, None), self.start):
            yield number * comm.get_world_size() + comm.get_rank(), index


class WorkerDied(InputError):
    """A process that loads images was killed, most often since the memory ran out."""


class Loader(DataLoader):
    """A DataLoader whose workers block the signals that end a run.

    When a job is pre-empted, SIGTERM goes to every process of the job, and ctrl-C and a closed terminal reach all too.
    The training needs its workers until the current iteration is done and saved.

    Raises:
        WorkerDied: while it is iterated.
    """

    def __iter__(self):
        # Workers inherit the mask. If a worker ignored the signal only after its start, an earlier signal would end it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, set(SIGNALS))
        try:
            batches = super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self.num_workers and threading.current_thread() is threading.main_thread():
            # torch's handler raises wherever the main thread is when a worker dies, in the midst of an update of the
            # weights too. Without the handler, the wait for the worker's next batch raises.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return _watched(batches) if self.num_workers else batches


def _watched(batches: Iterator) -> Iterator:
    try:
        yield from batches
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as e:
        # torch says that a worker is gone; or its socket is gone, from which the tensors of its last batches come. An
        # error that a worker itself has met arrives with a message of its own.
        met_in_worker = "in DataLoader worker process" in str(e)
        if met_in_worker or (isinstance(e, RuntimeError) and "DataLoader worker" not in str(e)):
            raise
        raise WorkerDied(
            "DATALOADER.NUM_WORKERS: a process that loads images was killed, most often since the machine's memory ran "
            "out; take fewer workers or a smaller SOLVER.IMS_PER_BATCH"
        ) from e


def loader_options(cfg: CfgNode) -> dict:
    """Arguments of a `Loader`, from DATALOADER.NUM_WORKERS and MODEL.DEVICE, with a random generator of its own.

    Also registers that the workers are killed when the process exits.
    """
    # At exit multiprocessing sends SIGTERM to the workers, which block SIGTERM, and waits for them without end. A
    # finalizer of this priority runs earlier.
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=10)
    # A loader draws a number from its generator when it starts. A resumed run starts its loaders once more, so drawing
    # from the global generator would change the random numbers after a resume.
    return {
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "generator": torch.Generator(),
        "pin_memory": torch.device(cfg.MODEL.DEVICE).type == "cuda",
    }


def _end_workers() -> None:
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
