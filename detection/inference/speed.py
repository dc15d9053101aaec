"""Measures what a test costs: the time of the model for an image, and the most memory that the process had."""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from torch import nn

_WARM_UP = 3  # first calls that do not count, where there are more


@contextlib.contextmanager
def timed(model: nn.Module) -> Iterator[list[float]]:
    """Notes the time of each call of the model: preprocessing on the device, network and postprocessing.

    Args:
        model: takes lists of images.

    Yields:
        seconds for an image, an entry for each call. It fills up within the context.
    """
    seconds: list[float] = []
    started = 0.0

    def start(*_):
        nonlocal started
        _wait()
        started = time.perf_counter()

    def stop(_model, inputs, _outputs):
        _wait()
        seconds.append((time.perf_counter() - started) / max(len(inputs[0]), 1))

    hooks = [model.register_forward_pre_hook(start), model.register_forward_hook(stop)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def speed(seconds: list[float]) -> dict[str, float | str]:
    """The figures for speed.json.

    Args:
        seconds: what `timed` noted.

    Returns:
        "inference_ms": the median time of the model for an image; "peak_memory_mb": the most memory that the process
        has had so far, training included, on the GPU where there is one; "device": "cpu" or the name of the GPU.
    """
    counted = seconds[_WARM_UP:] or seconds
    if torch.cuda.is_available():
        device, peak = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
        device, peak = "cpu", unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    median = 1000 * statistics.median(counted) if counted else float("nan")
    return {"inference_ms": median, "peak_memory_mb": peak / 2**20, "device": device}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
