"""One update of the weights: detectron2's SimpleTrainer with accumulated gradients and mixed precision."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from residet.engine.late import put_losses_late, write_late

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor, nn

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class Step(SimpleTrainer):
    """Forward pass, backward pass and update of the weights.

    detectron2's AMPTrainer runs on CUDA only, and neither AMPTrainer nor SimpleTrainer accumulates gradients.

    Args:
        model: batch -> {name: loss}.
        optimizer: updates the model's parameters. An optimizer that clips gradients gets the gradients after the scaler
            has unscaled them.
        micro_batches: number of batches whose gradients are averaged before an update.
        precision: a name in `PRECISIONS`: the number format of matrix products and convolutions ("float16" brings a
            gradient scaler), or "" for the model's own.
        logged: iterations between two that fetch the losses from the device, check them, and write them to the metrics.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        micro_batches: int = 1,
        precision: str = "",
        logged: int = 1,
    ):
        super().__init__(model, None, optimizer)
        self.logged = logged
        self._storage: EventStorage | None = None
        self.micro_batches = micro_batches
        self.dtype = PRECISIONS.get(precision)
        self.device_type = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=precision == "float16")

    def run_step(self) -> None:
        """Updates the weights once.

        Raises:
            FloatingPointError: the loss of this iteration, or of one since the losses were last fetched, or a value
                that leads to the loss is not finite. With `logged` 1 the weights have not changed.
        """
        with self._explained():
            self._run_step()

    def write_late(self) -> None:
        """Writes the losses that have not been fetched yet to the metrics. Raises FloatingPointError as `run_step`."""
        if self._storage is not None:
            with self._explained():
                write_late(self._storage)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FloatingPointError as e:
            rate, reason = self.optimizer.param_groups[0]["lr"], " ".join(str(e).split())
            raise FloatingPointError(
                f"the loss is not finite at iteration {self.iter}, learning rate {rate:.4g} ({reason}); "
                "the last checkpoint is from before it."
            ) from e

    def _run_step(self) -> None:
        self.optimizer.zero_grad()
        data_time = 0.0
        losses: dict[str, Tensor] = {}
        for number in range(self.micro_batches):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            with self._synchronise_gradients(last=number == self.micro_batches - 1):
                with torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None):
                    own_losses = {name: loss / self.micro_batches for name, loss in self.model(batch).items()}
                self.scaler.scale(sum(own_losses.values())).backward()
            for name, loss in own_losses.items():
                losses[name] = losses.get(name, 0) + loss.detach()
        self.after_backward()
        self._storage = get_event_storage()
        put_losses_late(losses, data_time, self.iter)
        if (self.iter + 1) % self.logged == 0:
            write_late(self._storage)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _synchronise_gradients(self, last: bool) -> contextlib.AbstractContextManager:
        if last or not isinstance(self.model, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> dict:
        return super().state_dict() | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if self.scaler.is_enabled() and state_dict.get("scaler"):
            self.scaler.load_state_dict(state_dict["scaler"])
