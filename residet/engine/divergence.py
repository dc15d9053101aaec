"""Warns early that a training diverges."""

from __future__ import annotations

import itertools
import logging
import statistics
from collections import deque

from detectron2.engine import HookBase

log = logging.getLogger("residet")

_START = 5  # iterations whose mean loss is the loss at the start, unless the loss explodes within them
_WINDOW = 20  # iterations whose median is the present loss
_FACTOR = 2.0  # the present loss, divided by the loss at the start, from which on training counts as diverging


class DivergenceWarning(HookBase):
    """Logs one warning if the loss rises to twice its value at the start of the run.

    A run in which the loss once explodes and falls again reaches a worse minimum, and the log of a finished run does
    not show the reason.
    """

    def __init__(self):
        self.first: list[float] = []
        self.warned = False
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._seen = -1  # the last iteration whose loss has been looked at

    def after_step(self):
        storage = self.trainer.storage
        if self.warned or "total_loss" not in storage.latest():
            return
        newest_first = reversed(storage.history("total_loss").values())
        new = [*itertools.takewhile(lambda entry: entry[1] > self._seen, newest_first)]
        for loss, self._seen in reversed(new):  # several, where losses are fetched late
            self._look_at(loss, storage.latest())

    def _look_at(self, loss: float, latest: dict) -> None:
        if len(self.first) < _START:
            self.first.append(loss)
            return
        self._recent.append(loss)
        start, now = min(statistics.fmean(self.first), 2 * self.first[0]), statistics.median(self._recent)
        if len(self._recent) == _WINDOW and now > _FACTOR * start and not self.warned:
            self.warned = True
            rate = f", learning rate {latest['lr'][0]:.3g}" if "lr" in latest else ""
            log.warning(
                f"the loss rose from {min(start, self.first[0]):.3g} at the start to {now:.3g} at iteration "
                f"{self._seen}{rate}: training may diverge; try a tenth of SOLVER.BASE_LR, a longer warm-up "
                "(SOLVER.WARMUP_ITERS), or SOLVER.CLIP_GRADIENTS.ENABLED True with CLIP_TYPE norm"
            )

    def state_dict(self):
        return {"first": self.first, "warned": self.warned}

    def load_state_dict(self, state_dict):
        self.first, self.warned = list(state_dict["first"]), state_dict["warned"]
