"""Trains several networks on the same data and prints their AP side by side.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/compare.py configs/bccd/*_fpn.yaml --data BCCD --weights 'CIFAR10/{arch}/model_final.pth' --random --seeds 0 1 2
"""

import argparse
import sys
from pathlib import Path

from backbones.whole_files import write_text
from detection.compare import RANDOM, compare, runs, summary
from residet.launch import exit_code
from residet.sweep import add_arguments, command_of


def work(args):
    """Trains the runs that the arguments ask for, then prints and writes the table."""
    starts = [args.weights] if args.weights else []
    starts += [RANDOM] if args.random or not starts else []
    output = Path(args.output)
    todo = runs(args.config, starts, args.seeds)
    train = command_of(Path(__file__).with_name("train_net.py"), args.processes)
    options = ["--data", args.data] if args.data else []
    try:
        compare(todo, train, [*options, *args.opts], output, args.minutes)
    finally:
        table = summary(todo, output)
        print(table)
        write_text(table + "\n", output / "comparison.md")


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+", help="config files, one for each detector to compare")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="data folder in VOC, COCO or YOLO layout; without it, the data that the configs name",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="checkpoint to start from; {arch} stands for the name of each config's network",
    )
    parser.add_argument(
        "--random", action="store_true", help="start from random weights, in addition to --weights if it is given"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="random seeds; each detector is trained with each seed",
    )
    add_arguments(parser, "output/compare")
    args = parser.parse_args(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
