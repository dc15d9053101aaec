"""Exports a classifier, or a network without its classifier, to ONNX, OpenVINO's IR or torch.export."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.portable.files import OPSET, Session, new_file, open_written, trace, write, write_reduced
from backbones.portable.precision import Measure, cost, reduce_precision
from backbones.weights.load import feature_state, load_state, norm_of, spec_of
from backbones.weights.read import Weights, read_weights

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

_SMALLEST = 64  # smallest side of an image, in pixels
_DIFFERENCE = 1e-3  # largest difference of an output, in sizes of the largest output


class NetworkGraph(nn.Module):
    """Images -> logits, or -> the maps of every stage, with the normalisation inside.

    Args:
        network: the network, in evaluation mode.
        mean: mean of each channel, for pixels in 0 to 255, in the order of the network's channels.
        std: standard deviation of each channel, as `mean`.
        order: order of the channels that the network takes, "RGB" or "BGR".
        maps: names of the maps to give; () gives the logits.
    """

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], order: str, maps: Sequence[str]
    ):
        super().__init__()
        self.network = network
        self.maps = tuple(maps)
        self.order = order
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(N, H, W, 3) uint8 RGB -> (N, classes) logits, or a tuple of maps (N, C, H / stride, W / stride)."""
        images = images.flip(3) if self.order == "BGR" else images
        x = (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std
        if not self.maps:
            return self.network(x)
        maps = self.network.feature_maps(x)
        return tuple(maps[name] for name in self.maps)


def export_network(
    source: str | Path,
    output: str | Path,
    format_name: str,
    part: str,
    images: Sequence[np.ndarray],
    arch: str = "",
    precision: str = "float32",
    measure: Measure | None = None,
    max_loss: float = 1.0,
) -> str:
    """Writes a classifier, or a file's backbone, as a file that other runtimes run, and checks the file.

    The file takes images (N, H, W, 3) uint8 RGB; N is free. Networks with maps at strides 4 to 32 take any H and W from
    64 pixels on, the others (CIFAR's networks, VGG) images of the size that they were trained on. A classifier gives
    `logits` (N, classes), a backbone its maps by name, `stem` to `res5`.

    Args:
        source: a file of weights, as `read_weights` reads it; of a detector only its backbone can be taken.
        output: the file, .onnx, .xml (OpenVINO; its weights beside it in .bin) or .pt2; must not exist.
        format_name: a name in `SUFFIXES`.
        part: "classifier" or "backbone".
        images: (H, W, 3) uint8 RGB each, to check the file with; resized if the network takes one size. For int8 they
            give the ranges, too.
        arch: name of the network. Needed only if `spec_of` cannot tell the network from the file.
        precision: a name in `PRECISIONS`. In fewer bits than float32 the outputs may differ.
        measure: for fewer bits, scores a classifier's file on data with truth.
        max_loss: the largest loss of that score, in points of %.

    Returns:
        a line for the user.

    Raises:
        InputError: the file cannot be read or exported, `output` exists, a package is missing, or the written file
            gives other values than the network; then there is no file.
    """
    weights = read_weights(source)
    graph, metadata = _graph(weights, part, arch)
    names = [*graph.maps] or ["logits"]
    side, dynamic = metadata["side"], {0: ("images", 1)}
    if side:
        images = [np.array(Image.fromarray(image).resize((side, side))) for image in images]
    else:
        dynamic |= {1: ("height", _SMALLEST), 2: ("width", _SMALLEST)}
    example = torch.zeros(2, side or 2 * _SMALLEST, side or 3 * _SMALLEST, 3, dtype=torch.uint8)
    program = trace(graph, example, dynamic)
    with new_file(output, format_name) as path:
        exact = path if precision == "float32" else path.with_stem(f"{path.stem}.float32")
        write(program, exact, ["images"], names, metadata)
        difference = _difference(graph, open_written(exact), images)
        if difference > _DIFFERENCE:
            raise InputError(
                f"{output}: not written: its outputs differ from the network's by {difference:.1e} of the largest "
                f"output, more than {_DIFFERENCE}"
            )
        said = (
            f"in {len(images)} images its outputs differ from the network's by at most {difference:.1e} of the largest "
            "output"
        )
        if exact != path:
            samples = [np.ascontiguousarray(image[None]) for image in images]
            metadata |= {"precision": precision}
            reduce = functools.partial(reduce_precision, precision=precision, samples=samples)
            write_reduced(exact, path, metadata, reduce)
            if measure:
                said = cost(exact, path, measure, max_loss)
            else:
                difference = _difference(graph, open_written(path), images)
                said = f"in {len(images)} images its outputs differ by up to {difference:.1%} of the network's largest"
    return f"{output}: {part} {metadata['arch']} for {format_name} in {precision} ({', '.join(names)}); {said}"


def _graph(weights: Weights, part: str, arch: str) -> tuple[NetworkGraph, dict]:
    """The part of a file's network that is to be exported, and its metadata."""
    if weights.normalisation is not None:
        raise InputError(
            f"{weights.path}: normalises images by a fitted mean image or whitening, which no exported file has; train "
            "with a mean and a standard deviation of each channel (CLASSIFICATION.NORMALISE)"
        )
    if not weights.mean or not weights.std:
        raise InputError(f"{weights.path}: does not say the mean and std of its pixels; add the keys mean and std")
    spec = spec_of(weights, arch)
    maps = [] if part == "classifier" else list(spec.channels)
    network, state = spec.build(None, norm=norm_of(weights)), feature_state(spec, weights)
    if part == "classifier":
        bias = weights.state.get(f"{spec.last_layer}.bias")
        if bias is None:
            raise InputError(f"{weights.path}: holds no classifier; give --part backbone")
        network, state = spec.build(len(bias), norm=norm_of(weights)), weights.state
    load_state(network, state, weights.path)
    order, size = weights.channel_order or "RGB", weights.input_size or spec.input_size
    metadata = {
        "task": "classification" if part == "classifier" else "features",
        "arch": spec.name,
        "classes": list(weights.classes or []) if part == "classifier" else [],
        "input_size": size,
        "side": None if spec.pyramid else size,
        "channel_order": "RGB",
        "opset": OPSET,
    }
    return NetworkGraph(network.eval(), weights.mean, weights.std, order, maps).eval(), metadata


def _difference(graph: NetworkGraph, session: Session, images: Sequence[np.ndarray]) -> float:
    """The largest difference of the outputs for one image after the other, in sizes of the largest output."""
    differences = []
    for image in images:
        batch = np.array(image[None])
        with torch.no_grad():
            expected = graph(torch.from_numpy(batch))
        expected = expected if isinstance(expected, tuple) else (expected,)
        differences += [
            float(np.abs(e.numpy() - f).max() / max(float(e.abs().max()), 1e-12))
            for e, f in zip(expected, session(batch), strict=True)
        ]
    return max(differences)
