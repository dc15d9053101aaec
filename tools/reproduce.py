"""Reproduces the classification tables of the papers: trains and tests networks, prints errors beside the papers'.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/reproduce.py --list
tools/reproduce.py resnext_imagenet --data IMAGENET --processes 8
tools/reproduce.py cifar10 --data CIFAR10 --minutes 25 --set SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE bfloat16
tools/reproduce.py wrn_cifar10:cifar_wrn16_8 --data CIFAR10 --seeds 0 1 2 3 4
tools/reproduce.py wrn_cifar100:cifar_wrn28_10 --data CIFAR100 --dataset cifar100 --download
"""

import sys
from pathlib import Path

from residet.cli.arguments import Parser, add_sweep
from residet.cli.configs import configs_folder
from residet.cli.exits import exit_code


def list_tables():
    """Prints the name, source, data and networks of each table, and the contents of each selection."""
    from classification.published import tables
    from classification.reproduce import SELECTIONS

    for name, table in tables().items():
        print(f"{name:24} {table.source:32} {table.data:10} {', '.join(table.error)}")
    for name, rows in SELECTIONS.items():
        print(f"{name:24} {', '.join(rows)}")


def work(args):
    """Runs the networks that the arguments name and prints the table, or lists the tables."""
    from classification.reproduce import entries, run, summary
    from residet.sweep import command_of

    if args.list or not args.table:
        list_tables()
        return
    output = Path(args.output)
    todo = entries(args.table, args.seeds or [None])
    options = ["--dataset", args.dataset] if args.dataset else []
    options += ["--download"] if args.download else []
    pretrain = command_of(Path(__file__).with_name("pretrain.py"), args.processes)
    try:
        configs = configs_folder() / "classification"
        run(todo, pretrain, ["--data", args.data, *options, *args.opts], configs, output, args.minutes)
    finally:
        print(summary(todo, output))


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("reproduce.py", __doc__)
    parser.add_argument(
        "table", nargs="*", help="what to run: TABLE, TABLE:NETWORK or a selection, as --list prints them"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the tables with their networks and the selections, and stop"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", default="", metavar="DIR", help="folder of the data set that the table is about")
    data.add_argument("--dataset", default="", help="what DIR holds, as in tools/pretrain.py")
    data.add_argument("--download", action="store_true", help="download the data into DIR if DIR lacks them")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="train each network with each of these values of SEED, and print the statistic that the paper gives",
    )
    add_sweep(parser, "output/reproduce")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
