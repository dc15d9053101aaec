"""Trains several networks on the same data and prints their AP side by side.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/compare.py configs/bccd/*_fpn.yaml --data BCCD --weights 'CIFAR10/{arch}/model_final.pth' --random --seeds 0 1 2
"""

import sys
from pathlib import Path

from residet.cli.arguments import Parser, add_sweep
from residet.cli.exits import exit_code
from residet.cli.weights import add_list_weights, add_weights


def work(args):
    """Trains the runs that the arguments ask for, then prints and writes the table."""
    from backbones.whole_files import write_text
    from detection.compare import RANDOM, compare, runs, summary
    from residet.sweep import command_of

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


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("compare.py", __doc__)
    parser.add_argument("config", nargs="+", help="configs, one for each detector to compare: files or names")
    what = parser.add_argument_group("data, weights and seeds")
    what.add_argument(
        "--data",
        metavar="DIR",
        help="data folder in VOC, COCO or YOLO layout; without it, the data that the configs name",
    )
    add_weights(what, "checkpoint to start from, {arch} stands for the name of each config's network")
    add_list_weights(what)
    what.add_argument(
        "--random", action="store_true", help="start from random weights, in addition to --weights if it is given"
    )
    what.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="random seeds; each detector is trained with each seed",
    )
    add_sweep(parser, "output/compare")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
