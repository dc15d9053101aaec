"""Prints the number of parameters, multiply-adds and activations of networks, beside the figures that the papers print.

tools/complexity.py
tools/complexity.py resnet50 resnext50_32x4d cifar_wrn28_10 --format github
"""

import argparse
import sys

from backbones.catalogue import CATALOGUE, get_spec
from backbones.complexity import table
from residet.launch import exit_code

from tabulate import tabulate_formats


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", metavar="ARCH", help="networks; without any, the whole catalogue")
    parser.add_argument(
        "--format",
        default="simple",
        choices=tabulate_formats,
        metavar="NAME",
        help="a table format of the tabulate library: simple, github, latex, …",
    )
    args = parser.parse_args(argv)
    return exit_code(lambda: print(table(map(get_spec, args.arch or CATALOGUE), args.format)))


if __name__ == "__main__":
    sys.exit(main())
