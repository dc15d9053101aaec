"""Reads and writes checkpoint files: `.pth`, `.safetensors` and detectron2's `.pkl`.

A file may come from a stranger, so no file is read by unrestricted pickle, which could run code. Each file is written
complete or not at all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
import warnings
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import whole_file

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

# The only functions and classes that a `.pkl` may name: a pickle of numpy arrays and plain containers needs no others.
_NUMPY = {"multiarray": ("_reconstruct", "scalar"), "numeric": ("_frombuffer",)}
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")}
_ALLOWED |= {(f"numpy.{core}.{m}", n) for core in ("core", "_core") for m, names in _NUMPY.items() for n in names}
# Key in the metadata of a .safetensors file, whose value is residet's metadata as JSON: safetensors takes strings only.
_METADATA = "residet"


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"names {module}.{name}")
        core = "numpy._core." if hasattr(np, "_core") else "numpy.core."
        module = module.replace("numpy._core.", core).replace("numpy.core.", core)
        return getattr(importlib.import_module(module), name)


def read_checkpoint(path: str | Path) -> dict:
    """Reads a checkpoint file onto the CPU.

    Args:
        path: a `.safetensors` or `.pkl` file, or, with any other suffix, a file of `torch.save`.

    Returns:
        the dict in the file. A `.safetensors` file gives {"model": tensors by name, …} with residet's metadata.

    Raises:
        InputError: the file does not exist, is damaged, or holds other things than tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; check the path, or name published weights (--list-weights)")
    if path.suffix == ".t7":
        raise InputError(
            f"{path}: is a file of Torch7, which residet does not read: the only reader on the package index does not "
            "check the sizes in the file; save the parameters in Torch7 as arrays, and those as .safetensors"
        )
    read = {".safetensors": _read_safetensors, ".pkl": _read_pickle}.get(path.suffix, _read_torch)
    try:
        content = read(path)
    except pickle.UnpicklingError as e:
        raise InputError(
            f"{path}: refused: the file is no checkpoint, or holds more than tensors and plain containers; "
            "save the state dict alone (torch.save(model.state_dict(), path))"
        ) from e
    except Exception as e:  # a broken file can make an unpickler raise any exception
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise InputError(f"{path}: cannot be read as a checkpoint ({reason}); is it whole? Copy the file again") from e
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict; save model.state_dict()")
    return content


def _read_torch(path: Path) -> object:
    # The training scripts of torchvision and timm store their command line beside the weights.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch's own reader uses it for old files
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict:
    with safetensors.safe_open(path, "pt") as f:
        metadata = json.loads((f.metadata() or {}).get(_METADATA, "{}"))
    return {**metadata, "model": safetensors.torch.load_file(path)}


def _read_pickle(path: Path) -> object:
    with path.open("rb") as f:
        return _to_tensors(_ArrayUnpickler(f, encoding="latin1").load())  # Python 2 wrote some of the files


def _to_tensors(content: object) -> object:
    if isinstance(content, dict):
        return {key: _to_tensors(value) for key, value in content.items()}
    if isinstance(content, np.ndarray | np.generic):
        if content.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"holds an array of {content.dtype}")
        return torch.tensor(content)
    return content


def save_checkpoint(content: dict, path: str | Path) -> None:
    """Writes `content` as a `.pth` checkpoint.

    Raises:
        InputError: the disk is full, or the file cannot be written for another reason. An older file at `path` stays as
            it was.
    """
    try:
        # torch gets a file object: given a path, its writer does not report why writing failed.
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as e:  # torch's writer turns an OSError into a RuntimeError
        cause = next((x for x in (e, e.__cause__, e.__context__) if isinstance(x, OSError)), e)
        reason = cause.strerror if isinstance(cause, OSError) else str(cause).splitlines()[0]
        raise InputError(
            f"{path}: cannot be written ({reason}); make room on the disk, then go on with --resume: the earlier "
            "checkpoints are whole"
        ) from e


def save_safetensors(state: dict[str, Tensor], metadata: dict, path: str | Path) -> None:
    """Writes tensors as a `.safetensors` file.

    Args:
        state: tensors by name.
        metadata: a residet checkpoint's items beside `model`. They become JSON in the file's metadata.
        path: the file.
    """
    state = {key: value.contiguous() for key, value in state.items()}
    with whole_file(path) as partial:
        safetensors.torch.save_file(state, partial, {"format": "pt", _METADATA: json.dumps(metadata)})
