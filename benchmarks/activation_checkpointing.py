"""What activation checkpointing saves in memory and costs in time, on the CPU.

benchmarks/activation_checkpointing.py

Memory: the peak of a process that takes one training step at two batch sizes; the difference gives bytes an image, and
with them the memory of a step at batch 128. Time: steps with and without, alternating; median of the ratios.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

from backbones.catalogue import get_spec
from backbones.resnet import ResidualNet

import torch
from torch.nn.functional import cross_entropy

DEEP = ("cifar_preact_resnet1001", "cifar_resnet1202")
TIMED = ("cifar_resnet110", "resnet50")
SMALL, LARGE, BATCH = 4, 12, 128


def step(network, batch):
    size = network.spec.input_size
    images = torch.randn(batch, 3, size, size)
    start = time.perf_counter()
    cross_entropy(network(images), torch.zeros(batch, dtype=torch.int64)).backward()
    return time.perf_counter() - start


def peak(name, checkpoint, batch):
    """Bytes, in a process of its own: a peak never falls again."""
    command = [sys.executable, __file__, "--arch", name, "--batch", str(batch), *["--checkpoint"] * checkpoint]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(name, checkpoint):
    """GiB of a step at batch 128: its activations beside what it takes anyway."""
    small, large = (peak(name, checkpoint, batch) for batch in (SMALL, LARGE))
    return (large - small) / (LARGE - SMALL) * BATCH / 2**30


def slowdown(name, batch, runs=7):
    networks = [ResidualNet(get_spec(name), 10, checkpoint_activations=c) for c in (False, True)]
    for network in networks:
        step(network, batch)
    ratios = []
    for _ in range(runs):
        without, with_ = (step(network, batch) for network in networks)
        ratios.append(with_ / without)
    return statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, options in (("--arch", {}), ("--batch", {"type": int}), ("--checkpoint", {"action": "store_true"})):
        parser.add_argument(name, help=argparse.SUPPRESS, **options)
    args = parser.parse_args()
    if args.arch:
        step(ResidualNet(get_spec(args.arch), 10, checkpoint_activations=args.checkpoint), args.batch)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in DEEP:
        print(f"{name}, batch {BATCH}: {memory(name, False):.1f} GiB, with checkpointing {memory(name, True):.1f} GiB")
    for name in TIMED:
        print(f"{name}: a step with checkpointing takes {slowdown(name, 8):.2f} x the time")


if __name__ == "__main__":
    main()
