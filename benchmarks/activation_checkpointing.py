"""Measures how much memory activation checkpointing saves, and how much time it costs, on the CPU.

benchmarks/activation_checkpointing.py

Memory: a process takes one training step and reports its peak memory. The difference of two processes with different
batch sizes gives the bytes for one image, and from them the memory of a step at batch 128.
Time: a network with and one without checkpointing take steps in turn. The result is the median ratio of their times.
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
SMALL, LARGE, BATCH = 4, 12, 128  # batch sizes: two that are measured, and the one that the result is for


def step(network, batch):
    """Seconds of one training step, forward and backward, on random images."""
    size = network.spec.input_size
    images = torch.randn(batch, 3, size, size)
    start = time.perf_counter()
    cross_entropy(network(images), torch.zeros(batch, dtype=torch.int64)).backward()
    return time.perf_counter() - start


def peak(name, checkpoint, batch):
    """Peak memory of one step in bytes, in a process of its own, because the peak of a process never falls.

    Args:
        name: name of the network.
        checkpoint: whether to checkpoint activations.
        batch: images in the batch.
    """
    command = [sys.executable, __file__, "--arch", name, "--batch", str(batch), *["--checkpoint"] * checkpoint]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(name, checkpoint):
    """GiB that grow with the batch, at batch 128: what a process takes without images is not counted."""
    small, large = (peak(name, checkpoint, batch) for batch in (SMALL, LARGE))
    return (large - small) / (LARGE - SMALL) * BATCH / 2**30


def slowdown(name, batch, runs=7):
    """How many times as long a step takes with checkpointing: the median ratio.

    Args:
        name: name of the network.
        batch: images in the batch.
        runs: number of steps with and without checkpointing.
    """
    networks = [ResidualNet(get_spec(name), 10, checkpoint_activations=c) for c in (False, True)]
    for network in networks:
        step(network, batch)
    ratios = []
    for _ in range(runs):
        without, with_ = (step(network, batch) for network in networks)
        ratios.append(with_ / without)
    return statistics.median(ratios)


def main():
    """Prints the memory of the deep networks and the slowdown of the others."""
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
