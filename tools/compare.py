"""Trains several networks on the same data and prints their AP side by side; the same command goes on where it stopped.

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+", help="configs of detectors")
    parser.add_argument("--data", metavar="DIR", help="folder of VOC, COCO or YOLO layout; else the configs' data")
    parser.add_argument("--weights", metavar="FILE", help="checkpoints to start from; {arch} is the network's name")
    parser.add_argument("--random", action="store_true", help="start from random weights too; alone without --weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    add_arguments(parser, "output/compare")
    args = parser.parse_args(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
