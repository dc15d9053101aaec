"""Writes finished runs of detectors as one HTML page, which opens without a network.

tools/report.py output/detection
tools/report.py output/compare/*_0 output/compare/*_1 --output report.html
"""

import sys
from pathlib import Path

from backbones.errors import InputError
from residet.cli.arguments import Parser
from residet.cli.exits import exit_code


def work(args):
    """Writes the page and prints its path."""
    from detection.comparison.rows import groups_of, rows_of
    from detection.report.page import write_report

    path = Path(args.output or (Path(args.run[0], "report.html") if len(args.run) == 1 else "report.html"))
    if path.suffix != ".html":
        raise InputError(f"--output: {path} is no name of a page; give a name that ends in .html")
    if len(args.run) > 1 and not args.output and path.exists():
        raise InputError(f"{path}: exists; name the page with --output")
    print(write_report(rows_of(groups_of(args.run)), path))


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("report.py", __doc__)
    parser.add_argument("run", nargs="+", help="folders (OUTPUT_DIR) of finished runs; several seeds make one row")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the page; default: report.html in the run's folder, of several runs in this folder",
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
