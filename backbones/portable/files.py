"""Writes a network as a file that runs without this project, and opens such files in their runtimes.

A file says in its metadata what a program must know to use the network: classes, size and channels of the images. The
values are JSON texts by name in ONNX's `metadata_props`; one JSON text in an IR's `rt_info` (under "residet",
"metadata") and in torch.export's extra file "residet.json".
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from backbones.errors import InputError
from backbones.portable import SUFFIXES

import numpy as np
import torch
from torch import nn

# ONNX's operators as of version 18 (2022). RoiAlign with half-pixel corners needs 16 or later.
OPSET = 18
_EXTRA = "residet.json"
_RT_INFO = ["residet", "metadata"]
_LARGEST_SIDE = 16384  # of an image, in pixels

# What runs a file: the values of the network's inputs, by position -> the values of its outputs.
Session = Callable[..., list[np.ndarray]]


def target_files(path: str | Path, format_name: str) -> list[Path]:
    """The files that an export writes, the one that the user names last.

    Args:
        path: the file that the user names.
        format_name: a name in `SUFFIXES`.

    Raises:
        InputError: `path` has the wrong ending, or a file exists.
    """
    path, suffix = Path(path), SUFFIXES[format_name]
    if path.suffix != suffix:
        raise InputError(f"{path}: a file for {format_name} ends with {suffix}; name it {path.with_suffix(suffix)}")
    files = [path] if suffix != ".xml" else [path.with_suffix(".bin"), path]
    if existing := [file for file in files if file.exists()]:
        raise InputError(f"{existing[0]}: the file exists; name another file")
    return files


@contextlib.contextmanager
def new_file(path: str | Path, format_name: str) -> Iterator[Path]:
    """A context in which the caller writes and checks a file, which appears at `path` if the block ends well.

    Args:
        path: the file to write. An IR has its weights beside it, in a file with the ending .bin.
        format_name: a name in `SUFFIXES`.

    Yields:
        path of the file in a temporary folder beside `path`.

    Raises:
        InputError: `path` has the wrong ending, or exists.
    """
    path = Path(path)
    files = target_files(path, format_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder, path.name)
        for file in files:  # an IR's .xml comes last: without it nobody reads the .bin
            os.replace(Path(folder, file.name), file)


def trace(
    module: nn.Module, example: torch.Tensor, dynamic: dict[int, tuple[str, int]]
) -> torch.export.ExportedProgram:
    """torch.export's program of a module with one input.

    Args:
        module: in evaluation mode.
        example: an input.
        dynamic: dimension of the input -> its name and its smallest value. The other dimensions keep the example's
            values.
    """
    shapes = {i: torch.export.Dim(name, min=least, max=_LARGEST_SIDE) for i, (name, least) in dynamic.items()}
    with _quiet(), torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=(shapes,), strict=False)


def write(
    program: torch.export.ExportedProgram,
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: dict,
) -> None:
    """Writes a program in the format that the ending of `path` says.

    Args:
        program: the network.
        path: the file, in a folder of its own (`new_file`).
        inputs: names of the inputs.
        outputs: names of the outputs.
        metadata: plain values by name.

    Raises:
        InputError: a package that the format needs is not installed.
    """
    if path.suffix == ".pt2":
        with _quiet():
            torch.export.save(program, path, extra_files={_EXTRA: json.dumps(metadata)})
        return
    need("onnx"), need("onnxscript")
    with _quiet():
        converted = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, verbose=False
        )
        model = converted.model_proto
    _save(model, path, metadata)


def write_reduced(exact: Path, path: Path, metadata: dict, reduce: Callable[[Path], None]) -> None:
    """Writes a file of `write` once more, in fewer bits. The network is not converted again, which takes long.

    Args:
        exact: the .onnx or .xml that `write` wrote, in the same folder still.
        path: the file, with the ending of `exact`.
        metadata: plain values by name, in the place of the other file's.
        reduce: rewrites an ONNX file.
    """
    _save(need("onnx").load(exact.with_suffix(".onnx")), path, metadata, reduce)


def _save(model, path: Path, metadata: dict, reduce: Callable[[Path], None] | None = None) -> None:
    """Saves an ONNX model, and as an IR beside it where `path` ends so."""
    onnx, onnx_path = need("onnx"), path.with_suffix(".onnx")
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.save(model, onnx_path)
    if reduce:
        reduce(onnx_path)
    if path.suffix == ".xml":
        openvino = need("openvino")
        ir = openvino.convert_model(onnx_path)
        ir.set_rt_info(json.dumps(metadata), _RT_INFO)
        openvino.save_model(ir, path, compress_to_fp16=False)


def open_session(path: str | Path, backend: str = "") -> tuple[Session, dict]:
    """Opens a file that `write` wrote.

    Args:
        path: the file.
        backend: "onnxruntime" or "openvino", which both run .onnx; "" for the one that fits the file.

    Returns:
        what runs the network on the CPU, and the file's metadata.

    Raises:
        InputError: the file is missing or damaged, is not of this project, does not fit the backend, or the runtime is
            not installed.
    """
    path = Path(path)
    if path.suffix == ".pt2":
        raise InputError(
            f"{path}: is not opened: a file of torch.export holds a pickle, which can run code; export to onnx, or "
            "call torch.export.load yourself on a file that you trust"
        )
    backend = backend or {".onnx": "onnxruntime", ".xml": "openvino"}.get(path.suffix, "")
    openers = {(".onnx", "onnxruntime"): _onnxruntime}
    openers |= dict.fromkeys([(".onnx", "openvino"), (".xml", "openvino")], _openvino)
    opener = openers.get((path.suffix, backend))
    if opener is None:
        raise InputError(f"backend: {backend} does not run {path}; leave the backend out or export for {backend}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        session, metadata = opener(path)
    except InputError:
        raise
    except Exception as e:  # the runtimes raise what they like on a damaged file
        raise InputError(f"{path}: cannot be opened ({' '.join(str(e).split())[:200]}); export the file again") from e
    if not isinstance(metadata, dict) or "task" not in metadata:
        raise InputError(f"{path}: says nothing of classes and pixels; write the file with tools/export.py")
    return session, metadata


def open_written(path: Path) -> Session:
    """What runs a file that this process has written itself."""
    if path.suffix != ".pt2":
        return open_session(path)[0]
    with _quiet():
        program = torch.export.load(path).module()

    def run(*values: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = program(*(torch.from_numpy(value) for value in values))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else [outputs])]

    return run


def _onnxruntime(path: Path) -> tuple[Session, dict]:
    onnxruntime = need("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    texts = session.get_modelmeta().custom_metadata_map
    return lambda *values: session.run(None, dict(zip(names, values, strict=True))), _parsed(texts)


def _openvino(path: Path) -> tuple[Session, dict]:
    openvino = need("openvino")
    model = openvino.Core().read_model(path)
    if path.suffix == ".onnx":  # OpenVINO does not keep ONNX's metadata
        properties = need("onnx").load(path, load_external_data=False).metadata_props
        metadata = _parsed({p.key: p.value for p in properties})
    else:
        metadata = json.loads(model.get_rt_info(_RT_INFO).value)
    # Without the hint OpenVINO computes in bfloat16 where the CPU can, which moves boxes by pixels.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(*values: np.ndarray) -> list[np.ndarray]:
        results = compiled.create_infer_request().infer(list(values))
        return [results[output] for output in compiled.outputs]

    return run, metadata


def _parsed(texts: dict[str, str]) -> dict:
    """The metadata of an ONNX file. Keys of other programs hold texts that are no JSON."""
    metadata = {}
    for key, text in texts.items():
        with contextlib.suppress(ValueError):
            metadata[key] = json.loads(text)
    return metadata


def need(package: str) -> ModuleType:
    """An optional package. Raises InputError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as e:
        raise InputError(f"{package}: cannot be imported ({e}); pip install 'residet[export]'") from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps away what torch's exporters say of their own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
