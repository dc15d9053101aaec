"""Prints the number of parameters, multiply-adds and activations of networks, beside the figures that the papers print.

tools/complexity.py
tools/complexity.py resnet50 resnext50_32x4d cifar_wrn28_10 --format github
"""

import sys

from residet.cli.arguments import Parser
from residet.cli.exits import exit_code

from tabulate import tabulate_formats


def work(args):
    """Prints the table."""
    from backbones.catalogue import CATALOGUE, get_spec
    from backbones.complexity import table

    print(table(map(get_spec, args.arch or CATALOGUE), args.format))


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("complexity.py", __doc__)
    parser.add_argument("arch", nargs="*", metavar="ARCH", help="networks; without any, the whole catalogue")
    parser.add_argument(
        "--format",
        default="simple",
        choices=tabulate_formats,
        metavar="NAME",
        help="a table format of the tabulate library: simple, github, latex, …",
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
