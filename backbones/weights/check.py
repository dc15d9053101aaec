"""What a checkpoint may hold: plain, finite tensors, and metadata of known form. A file may come from a stranger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from backbones.errors import InputError, shown

import torch
from torch import Tensor

_LARGEST = 1e30


def _numbers(value: object, *, above: float = -math.inf) -> bool:
    """Whether `value` is a list of numbers above a bound that float32 holds, not NaN."""
    return isinstance(value, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < _LARGEST and v > above for v in value
    )


def _are_anchors(value: object) -> bool:
    """Whether `value` is {"sizes": lists of positive numbers, "aspect_ratios": lists of positive numbers}."""
    lists = [value.get(key, [[1]]) for key in ("sizes", "aspect_ratios")] if isinstance(value, Mapping) else [None]
    return all(
        isinstance(levels, list | tuple) and levels and all(level and _numbers(level, above=0) for level in levels)
        for levels in lists
    )


_REPEATED = 1 << 30  # bytes: a tensor that a file holds as a few repeated values may unfold to so much
_TASKS = ("classification", "detection", "localisation, rpn", "localisation, rcnn")
# Items of a checkpoint's metadata -> whether a value can be used, and in words which can.
_ALLOWED = {
    "task": (lambda v: isinstance(v, str) and v in _TASKS, f"one of {'; '.join(_TASKS)}"),
    "mean": (lambda v: _numbers(v) and len(v) == 3, "three finite numbers"),
    "std": (lambda v: _numbers(v, above=0) and len(v) == 3, "three finite numbers above 0"),
    "channel_order": (lambda v: isinstance(v, str) and v in ("RGB", "BGR"), "RGB or BGR"),
    "initial_weights": (lambda v: isinstance(v, str), "text"),
    "norm": (lambda v: isinstance(v, str), "the name of a kind of norm layers"),
    "input_size": (lambda v: isinstance(v, int) and v > 0, "a number of pixels"),
    "classes": (
        lambda v: isinstance(v, list | tuple) and all(isinstance(name, str) and name for name in v),
        "a list of names",
    ),
    "anchors": (_are_anchors, "sizes and aspect_ratios, as lists of lists of numbers above 0"),
    "normalisation": (lambda v: isinstance(v, Mapping) and isinstance(v.get("kind"), str), "a kind with its state"),
}


def check_metadata(content: Mapping, path: str | Path) -> None:
    """Raises InputError if an item of a checkpoint's metadata cannot be used."""
    for key, (accepts, allowed) in _ALLOWED.items():
        value = content.get(key)
        if value is not None and not accepts(value):
            raise InputError(f"{path}: {key} is not {allowed}: {shown(value)}; correct this key of the checkpoint")


def check_tensors(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises InputError if a tensor is none of plain numbers, or has a value that is not finite."""
    for name, value in state.items():
        is_dense = value.layout == torch.strided and not (value.is_nested or value.is_quantized or value.is_meta)
        if not is_dense or value.is_complex():
            raise InputError(
                f"{path}: {shown(name)} is sparse, nested, quantised, complex or empty of values; save a state dict of "
                "dense tensors, in float32 or float16"
            )
        if value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), _REPEATED):
            raise InputError(
                f"{path}: {shown(name)} repeats fewer values than it has, and would take more memory than the file; "
                "save its .contiguous()"
            )
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise InputError(
                f"{path}: {shown(name)} has values that are NaN or infinite: the training diverged, or the file is "
                "damaged; use an earlier checkpoint"
            )
