"""How long does a network take for an image, run by OpenVINO or ONNX Runtime, against torchvision?

One image of 224 x 224. The files are those of `tools/export.py CLASSIFIER --to onnx`, opened with the backend that the
job names. The peer is torchvision's model in evaluation mode, without gradients. The weights are random and the same.
torch and the runtimes take all cores, and the ratio is of wall time: the runtimes' threads wait in loops, which CPU
time counts.

benchmarks/backbone_inference.py
"""

import argparse
import tempfile
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.portable.files import open_session
from backbones.portable.networks import export_network
from backbones.resnet import ResidualNet
from backbones.weights.files import save_checkpoint

import numpy as np
import torch
import torchvision
from harness import Job, compare, write

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# residet's name -> torchvision's name, and the ratio that we want to reach.
NETWORKS = {
    "resnet50": ("resnet50", 2.5),
    "resnext50_32x4d": ("resnext50_32x4d", 2.5),
    "wrn50_2_bottleneck": ("wide_resnet50_2", 1.9),
}


def jobs(folder, arch, name, least):
    """The jobs of one network: each backend against torchvision."""
    torch.manual_seed(0)
    network = ResidualNet(get_spec(arch), 1000).eval()
    peer = getattr(torchvision.models, name)().eval()
    peer.load_state_dict(network.state_dict())
    checkpoint, file = folder / f"{arch}.pth", folder / f"{arch}.onnx"
    save_checkpoint({"model": network.state_dict(), "arch": arch, "mean": MEAN, "std": STD}, checkpoint)
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    export_network(checkpoint, file, "onnx", "classifier", [image])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    @torch.inference_mode()
    def theirs():
        return peer(((torch.from_numpy(image).permute(2, 0, 1) - mean) / std)[None]).numpy()

    for backend in ("openvino", "onnxruntime"):
        session, _ = open_session(file, backend)
        yield Job(
            f"{arch}, backend {backend}",
            lambda session=session: session(image[None])[0],
            theirs,
            f"torchvision {name}, eager",
            agree,
            "logits within a thousandth of the largest",
            least,
            11,
            clock="wall",
        )


def agree(a, b):
    """The logits, but for rounding."""
    assert np.abs(a - b).max() < 1e-3 * np.abs(b).max()


def main():
    """Measures all networks and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compare(job) for arch, (name, least) in NETWORKS.items() for job in jobs(Path(folder), arch, name, least)
        ]
    write(__doc__.splitlines()[0], rows)


if __name__ == "__main__":
    main()
