"""Measures and draws how strongly the layers of a network respond (ResNet, section 4.2 and Fig. 7)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from backbones.errors import InputError
from backbones.resnet import ResidualNet
from backbones.weights.load import load_backbone
from backbones.weights.read import IMAGENET_MEAN, IMAGENET_STD, read_weights
from classification.config import default_config
from classification.data.loaders import build_val_loader
from classification.data.normalise import from_state
from residet.progress import progress

import matplotlib.figure
import matplotlib.ticker
import torch
from torch import Tensor, nn

log = logging.getLogger("residet")
_PIXELS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def measure(weights: str | Path, data: str | Path) -> tuple[str, dict[str, float]]:
    """Measures the responses of the network in a checkpoint.

    Args:
        weights: the checkpoint.
        data: a folder with labelled images in val/CLASS/ or test/CLASS/.

    Returns:
        the name of the network, and its `layer_responses`.

    Raises:
        InputError: the checkpoint or the folder cannot be read, the network takes BGR images, or `layer_responses`
            refuses the network.
    """
    network = load_backbone(weights, report=log.info)
    metadata = network.pretrained_cfg
    if metadata.get("channel_order") == "BGR":
        raise InputError(f"{weights}: the network takes BGR images, but they are read as RGB; use weights for RGB")
    cfg = default_config()
    cfg.CLASSIFICATION.DATA = str(data)
    cfg.CLASSIFICATION.SIZE = cfg.CLASSIFICATION.RESIZE = metadata.get("input_size", network.spec.input_size)
    state = read_weights(weights).normalisation
    pixels = {"mean": [0.0], "std": [1.0]} if state else _PIXELS | metadata
    mean, std = (torch.tensor(pixels[key]).view(-1, 1, 1) for key in _PIXELS)
    loader = build_val_loader(cfg, from_state(state, str(weights)) if state else None)
    batches = progress(loader, desc=network.spec.name, leave=False)
    return network.spec.name, layer_responses(network, ((batch["image"] - mean) / std for batch in batches))


@torch.no_grad()
def layer_responses(network: ResidualNet, images: Iterable[Tensor]) -> dict[str, float]:
    """Standard deviation of the output of every 3x3 convolution, after its BN and before ReLU and addition.

    Args:
        network: a network in which BN follows each convolution.
        images: batches (N, 3, H, W) of normalised images.

    Returns:
        {name of the convolution: standard deviation over all images, channels and positions}, from input to output.

    Raises:
        InputError: the network normalises before its convolutions, so no BN follows a convolution.
    """
    if network.spec.preact:
        raise InputError(
            f"{network.spec.name}: Fig. 7 is about layers that BN follows; here BN comes first; use a network without "
            "pre-activation"
        )
    layers = {
        name: network.get_submodule(_norm_after(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    # For each layer: the number of its output values, their sum, and the sum of their squares.
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in layers}

    def record(name: str):
        def hook(_module, _inputs, output):
            values = output.double()
            sums[name] += torch.tensor([values.numel(), values.sum(), values.square().sum()], dtype=torch.float64)

        return hook

    hooks = [norm.register_forward_hook(record(name)) for name, norm in layers.items()]
    network.eval()
    try:
        for batch in images:
            network.feature_maps(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: float((square / n - (total / n) ** 2).sqrt()) for name, (n, total, square) in sums.items()}


def _norm_after(convolution: str) -> str:
    head, _, last = convolution.rpartition(".")
    return f"{head}.{last.replace('conv', 'bn')}".removeprefix(".")


def draw(responses: dict[str, list[float]], path: str | Path) -> None:
    """Draws Fig. 7: the upper plot in the order of the layers, the lower plot from strong to weak.

    Args:
        responses: {name of the network: standard deviations of its layers, from input to output}.
        path: the picture to write, a `.png`, `.pdf` or `.svg` file.
    """
    figure = matplotlib.figure.Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1)
    for name, values in responses.items():
        above.plot(range(1, len(values) + 1), values, label=name, linewidth=1)
        below.plot(range(1, len(values) + 1), sorted(values, reverse=True), label=name, linewidth=1)
    above.set(xlabel="layer index (original)", ylabel="std")
    below.set(xlabel="layer index (sorted by magnitude)", ylabel="std")
    for axes in (above, below):
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    above.legend()
    figure.savefig(path, dpi=150)
