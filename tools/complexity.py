"""Prints params, multiply-adds and activations of the networks, beside the papers' figures.

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", metavar="ARCH", help="networks; all of the catalogue by default")
    parser.add_argument("--format", default="simple", choices=tabulate_formats, metavar="NAME", help="tabulate's")
    args = parser.parse_args(argv)
    return exit_code(lambda: print(table(map(get_spec, args.arch or CATALOGUE), args.format)))


if __name__ == "__main__":
    sys.exit(main())
