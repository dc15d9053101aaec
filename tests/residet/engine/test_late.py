"""Losses that are fetched late: when they arrive, and that no checkpoint comes from one that is not finite."""

import math

from residet.engine.late import put_late, write_late
from residet.engine.resume import RandomState
from residet.engine.step import Step

import pytest
import torch
from detectron2.utils.events import EventStorage
from host_syncs import HostSyncs
from torch import nn


class Toy(nn.Module):
    """(batch of numbers) -> the squared error of a linear layer, and its weights as a metric."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, batch):
        put_late("train_error", self.layer.weight.sum())
        return {"loss": self.layer(batch).square().mean()}


def steps(batches, logged, storage):
    """Takes a step with each batch. Returns the step, and the number of synchronisations in each."""
    model = Toy()
    step = Step(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), logged=logged)
    step.data_loader = batches
    counts = []
    for step.iter in range(len(batches)):
        storage.iter = step.iter
        with HostSyncs() as syncs:
            step.run_step()
        counts.append(syncs.total)
    return step, counts


def batches(count):
    return list(torch.randn(count, 2, 4, generator=torch.Generator().manual_seed(0)))


def test_numbers_arrive_together_and_with_their_iterations(storage):
    torch.manual_seed(0)
    _, counts = steps(batches(7), 3, storage)
    late = {name: storage.history(name).values() for name in ("total_loss", "train_error")}
    assert [i for _, i in late["total_loss"]] == [i for _, i in late["train_error"]] == [0, 1, 2, 3, 4, 5]
    assert [count > 0 for count in counts] == [False, False, True, False, False, True, False]
    write_late(storage)
    assert len(storage.history("total_loss").values()) == 7


def test_late_numbers_are_those_of_a_step_that_fetches_at_once():
    values = []
    for logged in (1, 4):
        torch.manual_seed(0)
        with EventStorage() as storage:
            step, _ = steps(batches(6), logged, storage)
            step.write_late()
            values.append(storage.history("total_loss").values() + storage.history("train_error").values())
    assert values[0] == values[1]


def test_a_loss_that_is_not_finite_is_found_before_a_checkpoint(storage):
    step, _ = steps([*batches(2), torch.full((2, 4), math.nan)], 20, storage)
    with pytest.raises(FloatingPointError, match=r"not finite at iteration 2, .*iteration=2.*last checkpoint"):
        step.write_late()


def test_the_generator_of_the_models_own_device_is_saved(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: seen.append(str(device)) or torch.zeros(2))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: seen.append(str(device)))
    hook = RandomState("cuda:1")
    hook.load_state_dict(hook.state_dict())
    hook.before_train()
    assert seen == ["cuda:1", "cuda:1"]
    assert "cuda" not in RandomState("cpu").state_dict()["ranks"][0]
