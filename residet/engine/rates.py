"""Learning rates that differ between the pretrained layers of a model and its new ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from detectron2.engine import hooks
from torch import nn


def scale_rate(optimizer: torch.optim.Optimizer, params: Iterable[nn.Parameter], factor: float) -> None:
    """Multiplies the learning rate of some parameters. Their other settings, such as weight decay, stay.

    Args:
        optimizer: its groups are split into the parameters in `params`, which become the groups with "scaled" True, and
            the others. Call the function before a scheduler takes the optimizer.
        params: parameters; those that the optimizer does not have, as they are frozen, do not count.
        factor: multiplies the rate that a parameter's group has.
    """
    chosen, groups = {id(p) for p in params}, []
    for group in optimizer.param_groups:
        for scaled in (False, True):
            own = [p for p in group["params"] if (id(p) in chosen) == scaled]
            if own:
                rate = group["lr"] * (factor if scaled else 1)
                groups.append({**group, "params": own, "lr": rate, "scaled": scaled})
    optimizer.param_groups = groups


class TwoRates(hooks.LRScheduler):
    """Steps the scheduler of an optimizer that `scale_rate` has split, and logs the two rates.

    "lr" is the rate of the other parameters, as in a run without `scale_rate`; "lr_scaled" is that of the scaled ones.
    """

    def before_train(self):
        super().before_train()
        groups = self._optimizer.param_groups
        sizes = {scaled: [len(g["params"]) * (g["scaled"] == scaled) for g in groups] for scaled in (False, True)}
        self._best_param_group_id, self._scaled_id = (sizes[s].index(max(sizes[s])) for s in (False, True))

    def after_step(self):
        rate = self._optimizer.param_groups[self._scaled_id]["lr"]
        self.trainer.storage.put_scalar("lr_scaled", rate, smoothing_hint=False)
        super().after_step()
