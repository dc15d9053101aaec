"""What the loaders of both sides share: random numbers by place in the run, and workers that a signal does not end."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing.util
import random
import signal
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler


@contextlib.contextmanager
def seeded(numbers: Sequence[int]) -> Iterator[None]:
    """Within, the random numbers of torch on the CPU, numpy and Python follow from `numbers` alone."""
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
    """A process's share of an endless stream, from one of its images on, as (position in the stream, index).

    Args:
        indices: the process's share, a function of the seed alone, as detectron2's training samplers give it.
        start: so many of them are passed over.
    """

    def __init__(self, indices: Iterable[int], start: int):
        self.indices = indices
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for own, index in enumerate(itertools.islice(self.indices, self.start, None), self.start):
            yield own * comm.get_world_size() + comm.get_rank(), index


class Loader(DataLoader):
    """A DataLoader whose workers SIGTERM does not reach.

    A pre-empted job's signal goes to every process of its group, but the run needs its workers until it has saved.
    """

    def __iter__(self):
        # Workers inherit the mask; to ignore the signal once they run would leave them a moment in which it ends them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loader_options(cfg: CfgNode) -> dict:
    """Arguments of a `Loader`, as exact resume and pre-emption want them."""
    # At exit multiprocessing asks workers to end by SIGTERM and waits; what is registered so comes before.
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=10)
    # A generator of its own: the loader draws from it when it starts, which a resumed run does more often.
    return {
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "generator": torch.Generator(),
        "pin_memory": torch.device(cfg.MODEL.DEVICE).type == "cuda",
    }


def _end_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
