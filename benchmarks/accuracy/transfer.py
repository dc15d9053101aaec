"""What does each of the six networks gain by pretraining on CIFAR-10, when it becomes a detector of other images?

Pretrains one network after the other, and compares the detectors of those that are ready: from the checkpoint and from
random weights, with equal iterations. `OUTPUT/compare/transfer.json` has the table of what is finished. The same
command goes on where it was stopped, also within a run.

benchmarks/accuracy/transfer.py --cifar10 CIFAR10 --data BCCD --minutes 120
benchmarks/accuracy/transfer.py --cifar10 CIFAR10 --data output/collages --size 160 --name collages
"""

import argparse
import sys
import time
from pathlib import Path

from residet.cli.exits import exit_code
from residet.sweep import call, command_of, deadline_in, finish

# In the order in which they are trained: the quicker ones first.
NETWORKS = ("resnet50", "wrn34_2", "resnext50_32x4d", "wrn50_2_bottleneck", "resnet101", "resnext101_32x4d")
WITH_C4 = ("resnet50", "wrn34_2")
# At 32 px, the map of stage 5 is a single cell. Of a 3x3 convolution there, only the weight in the middle would learn.
PRETRAINING = ["CLASSIFICATION.SIZE", "48", "CLASSIFICATION.RESIZE", "48", "CLASSIFICATION.PAD", "6"]
PRETRAINING += ["SOLVER.IMS_PER_BATCH", "64", "CLASSIFICATION.EVAL_EPOCHS", "0", "SOLVER.CHECKPOINT_PERIOD", "200"]
PRETRAINING += ["CLASSIFICATION.CHANNELS_LAST", "True"]
DETECTION = ["SOLVER.IMS_PER_BATCH", "2"]
# An evaluation every 100 iterations gives AP over the training, which report.html draws.
DETECTION += ["SOLVER.MAX_ITER", "300", "SOLVER.CHECKPOINT_PERIOD", "100", "TEST.EVAL_PERIOD", "100"]
DETECTION += ["TEST.PICTURES", "0", "MODEL.CHANNELS_LAST", "True"]
FAST = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"]


def pretrain(arch, args, deadline):
    """Pretrains a network, or goes on. Returns whether its pretraining is finished."""
    folder = args.output / "pretrain" / arch

    def command(flags):
        return [
            *command_of(Path("tools/pretrain.py"), 1),
            *["--arch", arch, "--data", args.cifar10, "--config-file", "classification/cifar10", *flags],
            *[*PRETRAINING, *FAST, "CLASSIFICATION.EPOCHS", str(args.epochs)],
            *["CLASSIFICATION.WARMUP_EPOCHS", str(args.epochs / 4)],
            *["DATALOADER.NUM_WORKERS", str(args.workers), "OUTPUT_DIR", str(folder)],
        ]

    return finish(command, folder, deadline)


def compare(ready, args, deadline):
    """Compares the detectors of networks whose pretraining is finished. Returns whether all their runs are."""
    configs = [f"configs/bccd/{arch}_fpn.yaml" for arch in ready]
    configs += [f"configs/bccd/{arch}_c4.yaml" for arch in ready if arch in WITH_C4]
    return compare_starts(configs, args, args.data, args.output / args.name, deadline)


def compare_starts(configs, args, data, folder, deadline):
    """Compares detectors from the checkpoints in `args.output` and from random weights.

    Args:
        configs: configs of the detectors.
        args: output, size, seeds and workers, as on the command line.
        data: the detection data set.
        folder: the folder of the comparison.
        deadline: the time.monotonic() at which the run that goes on is saved and stopped; None for no limit.

    Returns:
        whether all runs are finished.
    """
    weights = args.output / "pretrain" / "{arch}" / "model_final.pth"
    command = [*command_of(Path("tools/compare.py"), 1), *configs, "--data", str(data), "--weights", str(weights)]
    command += ["--random", "--seeds", *map(str, args.seeds), "--output", str(folder)]
    size = ["INPUT.MIN_SIZE_TRAIN", f"({args.size},)", "INPUT.MIN_SIZE_TEST", str(args.size)]
    if deadline:  # compare.py saves the run that goes on
        command += ["--minutes", f"{max((deadline - time.monotonic()) / 60, 0.1):.1f}"]
    command += ["--set", *DETECTION, *size, *FAST, "DATALOADER.NUM_WORKERS", str(args.workers)]
    return call(command, None) and not (deadline and time.monotonic() >= deadline)


def work(args):
    """Runs what is missing, until the time is up."""
    deadline, ready = deadline_in(args.minutes), []
    for arch in args.networks:
        if not pretrain(arch, args, deadline):
            return
        ready.append(arch)
        if not compare(ready, args, deadline):
            return


def add_arguments(parser):
    """Adds the arguments of a comparison: those that `compare_starts` takes, and --minutes."""
    parser.add_argument("--size", type=int, default=224, help="short side of the detectors' images, in pixels")
    parser.add_argument("--output", type=Path, default=Path("output/transfer"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1, help="processes that load images")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes; 0 for no limit")


def main():
    """Parses the command line, and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", required=True, metavar="DIR", help="train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--data", required=True, metavar="DIR", help="a detection data set, such as the blood cells")
    parser.add_argument("--name", default="compare", help="folder of the comparison in --output")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=2, help="passes over CIFAR-10")
    add_arguments(parser)
    args = parser.parse_args()
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
