"""Reproduces the classification tables of the papers: trains and tests what is not done yet, within a time.

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
    for name, table in tables().items():
        print(f"{name:24} {table.source:32} {table.data:10} {', '.join(table.error)}")
    for name, parts in SELECTIONS.items():
        print(f"{name:24} {', '.join(parts)}")


def work(args):
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="*", help="TABLE, TABLE:NETWORK, or a selection; see --list")
    parser.add_argument("--list", action="store_true", help="print the tables and their networks")
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the data")
    parser.add_argument("--dataset", default="", help="what the folder holds, as of tools/pretrain.py")
    parser.add_argument("--download", action="store_true", help="fetch the data into DIR if it is not there")
    add_arguments(parser, "output/reproduce")
    args = parser.parse_args(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
