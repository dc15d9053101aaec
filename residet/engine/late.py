"""Numbers of the training that are read late.

To fetch a number from a GPU, the CPU waits until the GPU has done all its work, and the GPU then waits for the CPU. So
losses and other numbers stay on their device for some iterations, and are fetched by one copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor


@dataclass
class _Pending:
    """What a storage has yet to get.

    Attributes:
        scalars: (iteration, name, value).
        losses: (iteration, losses by name, seconds that the iteration waited for data).
    """

    scalars: list[tuple[int, str, Tensor]] = field(default_factory=list)
    losses: list[tuple[int, dict[str, Tensor], float]] = field(default_factory=list)


_PENDING: WeakKeyDictionary[EventStorage, _Pending] = WeakKeyDictionary()


def put_late(name: str, value: Tensor) -> None:
    """Keeps a number of this iteration for the storage of metrics, which gets the number from `write_late`.

    Args:
        name: the metric.
        value: the number ().
    """
    storage = get_event_storage()
    _PENDING.setdefault(storage, _Pending()).scalars.append((storage.iter, name, value.detach()))


def put_losses_late(losses: dict[str, Tensor], data_time: float, iteration: int) -> None:
    """Keeps the losses () of an iteration likewise, with the seconds that the iteration waited for its data."""
    _PENDING.setdefault(get_event_storage(), _Pending()).losses.append((iteration, losses, data_time))


def write_late(storage: EventStorage) -> None:
    """Writes to the storage all that has been kept for it.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    pending = _PENDING.pop(storage, None)
    if pending is None:
        return
    tensors = [value for *_, value in pending.scalars]
    tensors += [loss for _, losses, _ in pending.losses for loss in losses.values()]
    values = iter(torch.stack([t.detach().float() for t in tensors]).cpu())
    with storage:
        for iteration, name, _ in pending.scalars:
            storage.put_scalar(name, next(values).item(), cur_iter=iteration)
        for iteration, losses, data_time in pending.losses:
            SimpleTrainer.write_metrics({name: next(values) for name in losses}, data_time, iteration)
