"""Reads and writes checkpoints.

A checkpoint of ours is a dict: `model` (parameters by name), `task` ("classification" or "detection"), `arch`,
`mean` and `std` (of pixels in 0 to 255), `channel_order` ("RGB" or "BGR"), `classes` (names in the order of the
outputs), and `trainer` (optimizer, iteration). State dicts of torchvision and timm are read too.
Nothing is ever read by unrestricted pickle.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError

import safetensors.torch
import torch
from torch import Tensor, nn

# Of ImageNet, for pixels in 0 to 255, RGB: what torchvision's and timm's weights were trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Weights:
    """Parameters from a file, with what the file says about them (None where it does not say)."""

    path: str
    state: dict[str, Tensor]
    task: str | None = None
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str | None = None
    classes: tuple[str, ...] | None = None


def read_checkpoint(path: str | Path) -> dict:
    """The dict in a `.pth` file, or {"model": tensors} of a `.safetensors` file, on the CPU.

    Raises:
        InputError: there is no such file, it is damaged, or it holds more than tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; check the path")
    try:
        if path.suffix == ".safetensors":
            return {"model": safetensors.torch.load_file(path)}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise InputError(
            f"{path}: refused, it is no checkpoint or holds more than tensors and plain containers; "
            "save its state dict alone (torch.save(model.state_dict(), path))"
        ) from e
    except Exception as e:  # the unpickler fails in as many ways as there are broken files
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise InputError(f"{path}: cannot be read as a checkpoint ({reason}); is it whole?") from e
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return content


def read_weights(path: str | Path) -> Weights:
    """Reads parameters from a checkpoint of ours, or a state dict as torchvision and timm save it.

    Raises:
        InputError: as `read_checkpoint`, or there are no parameters in it.
    """
    content = read_checkpoint(path)
    nested = [content[k] for k in ("model", "state_dict") if isinstance(content.get(k), Mapping)]
    state = nested[0] if nested else content
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: found no state dict in it; its keys are {list(content)[:5]}")
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    known = {k: content[k] for k in ("task", "arch", "channel_order") if k in content}
    known |= {k: tuple(content[k]) for k in ("mean", "std", "classes") if content.get(k) is not None}
    return Weights(str(path), dict(state), **known)


def save_checkpoint(content: dict, path: str | Path) -> None:
    """Writes a checkpoint whole or not at all: beside its place first, then renamed into it."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as f:
            torch.save(content, f)
            f.flush()
            os.fsync(f.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str, skip: Iterable[str] = ()) -> str:
    """Loads every parameter and buffer of `module` from `state`, or raises and loads none.

    Args:
        module: what to fill.
        state: tensors by name; of those, the ones that `module` lacks are refused.
        source: where they come from, for messages.
        skip: names of `module` that keep their present values.

    Returns:
        how many of how many were loaded.

    Raises:
        InputError: keys are missing, unexpected or of another shape; the message counts them and names the first.
    """
    skip = set(skip)
    # A counter that inference does not use and that older files and frozen norms lack.
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if k not in skip and not k.endswith("num_batches_tracked")}
    wanted = {k: v for k, v in own.items() if k not in skip}
    faults = {
        "missing": [k for k in wanted if k not in given],
        "unexpected": [k for k in given if k not in wanted],
        "of another shape": [
            f"{k} {tuple(given[k].shape)} for {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in given and given[k].shape != v.shape
        ],
    }
    if any(faults.values()):
        found = [
            f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for kind, keys in faults.items()
            if keys
        ]
        raise InputError(
            f"{source}: does not fit: of {len(wanted)} entries {'; '.join(found)}. "
            "Nothing was loaded; check that arch and file belong together"
        )
    module.load_state_dict(given, strict=False)
    return f"{len(wanted)} of {len(own)} entries"


def take_preprocessing(cfg, weights: Weights) -> None:
    """Sets detectron2's keys for pixels to what the file was trained with, where it says so."""
    if weights.mean:
        cfg.MODEL.PIXEL_MEAN = list(weights.mean)
    if weights.std:
        cfg.MODEL.PIXEL_STD = list(weights.std)
    if weights.channel_order:
        cfg.INPUT.FORMAT = weights.channel_order


def check_arch(weights: Weights, arch: str) -> None:
    """Raises InputError if the file says that it is of another network."""
    if weights.arch not in (None, arch):
        raise InputError(f"{weights.path}: holds {weights.arch}, the model is {arch}; use weights of {arch}")
