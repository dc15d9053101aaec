"""Makes an ONNX file compute in fewer bits: in float16, or in whole numbers of 8 bits with ranges from images.

Only the layers that take the time are changed, convolutions and matrix products; normalisation, anchors, boxes and
suppression stay in float32.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from backbones.portable.files import Session, need, open_session

import numpy as np

_HEAVY = ["Conv", "Gemm", "MatMul"]
# What float16 may compute: the heavy layers, and what lies between them.
_IN_FLOAT16 = {*_HEAVY, "Relu", "Add", "MaxPool", "GlobalAveragePool", "BatchNormalization"}
# Parameters of layers that int8 leaves as they are: their outputs are coordinates and scores.
_EXACT = ("box_predictor", "anchor_deltas", "objectness_logits")


@dataclass(frozen=True)
class Score:
    """How good and how fast a file is on data with truth.

    Attributes:
        metric: name of the figure, such as "AP".
        value: the figure in %; higher is better.
        data: name of the data.
        images: number of images.
        milliseconds: median time of an image.
    """

    metric: str
    value: float
    data: str
    images: int
    milliseconds: float


Measure = Callable[[Session], Score]


def reduce_precision(path: Path, precision: str, samples: Sequence[np.ndarray]) -> None:
    """Rewrites an ONNX file with one input.

    Args:
        path: the file.
        precision: "float16" or "int8".
        samples: values of the input, from which int8 takes the range of each layer's values.

    Raises:
        InputError: a package is missing, or the network cannot be written in this precision.
    """
    onnx, _ = need("onnx"), need("onnxruntime")
    metadata = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    try:
        model = _in_float16(path) if precision == "float16" else _in_int8(path, samples)
    except Exception as e:  # the libraries raise what they like where they do not know a layer
        raise InputError(f"--precision: {precision} is not possible here ({' '.join(str(e).split())[:200]})") from e
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _in_float16(path: Path):
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(path)
    kept = sorted({node.op_type for node in model.graph.node} - _IN_FLOAT16)
    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, op_block_list=kept)


def _in_int8(path: Path, samples: Sequence[np.ndarray]):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(CalibrationDataReader):
        def __init__(self, name: str):
            self.feeds = iter([{name: sample} for sample in samples])

        def get_next(self) -> dict | None:
            return next(self.feeds, None)

    logger, level = logging.getLogger(), logging.getLogger().level
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared, target = os.path.join(folder, "prepared.onnx"), os.path.join(folder, "int8.onnx")
        logger.setLevel(logging.ERROR)  # the quantiser names each layer that it leaves as it is
        try:
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            graph = onnx.load(prepared).graph
            exact = [n.name for n in graph.node if any(part in name for name in n.input for part in _EXACT)]
            quantize_static(
                prepared,
                target,
                Samples(graph.input[0].name),
                op_types_to_quantize=_HEAVY,
                nodes_to_exclude=exact,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logger.setLevel(level)
        return onnx.load(target)


def cost(exact: Path, reduced: Path, measure: Measure, max_loss: float) -> str:
    """What the fewer bits cost and gain, in words.

    Args:
        exact: the file in float32.
        reduced: the file in fewer bits.
        measure: scores a file on data with truth.
        max_loss: the largest loss of the figure, in points of %.

    Raises:
        InputError: the loss is larger.
    """
    before, after = measure(open_session(exact)[0]), measure(open_session(reduced)[0])
    loss = before.value - after.value
    words = (
        f"on {before.images} images of {before.data} {before.metric} {after.value:.2f}, in float32 {before.value:.2f}, "
        f"a loss of {loss:.2f}; {after.milliseconds:.1f} ms an image, in float32 {before.milliseconds:.1f} ms: "
        f"{before.milliseconds / max(after.milliseconds, 1e-9):.2f} times as fast; {_megabytes(reduced):.1f} MB, in "
        f"float32 {_megabytes(exact):.1f} MB"
    )
    if not loss <= max_loss:  # nor if it is not a number
        raise InputError(f"not written: {words}; the loss is more than --max-loss {max_loss:g}")
    return words


def _megabytes(path: Path) -> float:
    """Size of a file, with that of the weights beside an IR."""
    return sum(file.stat().st_size for file in {path, path.with_suffix(".bin")} if file.is_file()) / 1e6
