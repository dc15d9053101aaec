"""Reproduces the classification tables of the papers: trains and tests networks, prints errors beside the papers'.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/reproduce.py --list
tools/reproduce.py resnext_imagenet --data IMAGENET --processes 8
tools/reproduce.py cifar10 --data CIFAR10 --minutes 25 --set SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE bfloat16
tools/reproduce.py wrn_cifar100:cifar_wrn28_10 --data CIFAR100 --dataset cifar100 --download
"""

import argparse
import sys
from pathlib import Path

from classification.published import tables
from classification.reproduce import SELECTIONS, entries, run, summary
from residet.launch import exit_code
from residet.sweep import add_arguments, command_of

CONFIGS = Path(__file__).parents[1] / "configs" / "classification"


def list_tables():
    """Prints the name, source, data and networks of each table, and the contents of each selection."""
    for name, table in tables().items():
        print(f"{name:24} {table.source:32} {table.data:10} {', '.join(table.error)}")
    for name, rows in SELECTIONS.items():
        print(f"{name:24} {', '.join(rows)}")


def work(args):
    """Runs the networks that the arguments name and prints the table, or lists the tables."""
    if args.list or not args.table:
        list_tables()
        return
    output = Path(args.output)
    todo = entries(args.table)
    options = ["--dataset", args.dataset] if args.dataset else []
    options += ["--download"] if args.download else []
    pretrain = command_of(Path(__file__).with_name("pretrain.py"), args.processes)
    try:
        run(todo, pretrain, ["--data", args.data, *options, *args.opts], CONFIGS, output, args.minutes)
    finally:
        print(summary(todo, output))


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table", nargs="*", help="what to run: TABLE, TABLE:NETWORK or a selection, as --list prints them"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the tables with their networks and the selections, and stop"
    )
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the data set that the table is about")
    parser.add_argument("--dataset", default="", help="what DIR holds, as in tools/pretrain.py")
    parser.add_argument("--download", action="store_true", help="download the data into DIR if DIR lacks them")
    add_arguments(parser, "output/reproduce")
    args = parser.parse_args(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
