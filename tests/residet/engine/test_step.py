"""One step of training: accumulation, precision, and a loss that is not finite."""

import math

from residet.engine.step import Step

import pytest
import torch
from torch import nn


class Toy(nn.Module):
    """(batch of numbers) -> the squared error of a linear layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, batch):
        return {"loss": self.layer(batch).square().mean()}


def step_once(batches, precision="", parts=1):
    torch.manual_seed(0)
    model = Toy()
    step = Step(model, torch.optim.SGD(model.parameters(), 0.1), parts, precision)
    step.data_loader = batches
    step.iter = 7
    step.run_step()
    return model.layer.weight.detach()


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    batch = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(step_once([batch]), step_once(batch.split(4), parts=3), atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_steps_nearly_alike(precision):
    batch = 0.1 * torch.randn(12, 4, generator=torch.Generator().manual_seed(1))  # scaled gradients fit float16
    exact, mixed = step_once([batch]), step_once([batch], precision)
    assert torch.allclose(exact, mixed, atol=5e-3) and not torch.equal(exact, mixed)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    torch.manual_seed(0)
    before = Toy().layer.weight.detach()
    for value in (math.nan, math.inf):
        model = None
        with pytest.raises(
            FloatingPointError, match=r"not finite at iteration 7, learning rate 0\.1 \(.*loss.*(nan|inf)"
        ):
            model = step_once([torch.full((2, 4), value)])
        assert model is None
    torch.manual_seed(0)
    model = Toy()
    step = Step(model, torch.optim.SGD(model.parameters(), 0.1))
    step.data_loader, step.iter = [torch.full((2, 4), math.nan)], 0
    with pytest.raises(FloatingPointError):
        step.run_step()
    assert torch.equal(model.layer.weight, before)
