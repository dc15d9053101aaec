"""Writes a config for your own data, with comments: classes, sizes of images and anchors, schedule.

tools/new_config.py DIR --output cells.yaml
tools/new_config.py DIR --arch wrn34_2 --output cells.yaml
"""

import sys
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.arguments import add_format
from residet.cli.arguments import Parser, add_config_file
from residet.cli.exits import exit_code


def work(args):
    """Writes the config and prints what was chosen.

    Raises:
        InputError: the file exists, or the data, the config or the network cannot be used.
    """
    from backbones.whole_files import write_text
    from detection.starter import starter_config

    file = Path(args.output)
    if file.exists():
        raise InputError(f"--output: {file} exists; name another file")
    chosen = starter_config(args.data, args.config_file, args.arch, file, args.format or "", args.skip_missing)
    text, lines, command = chosen
    write_text(text, file)
    for line in lines:
        print(line)
    print(f"written: {file}; read it, then: {command}")


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("new_config.py", __doc__)
    parser.add_argument("data", metavar="DIR", help="folder of the data, whatever its layout")
    add_format(parser)
    start = parser.add_argument_group("network")
    add_config_file(start)
    start.add_argument("--arch", default="", metavar="NAME", help="network of the catalogue, e.g. resnet50")
    parser.add_argument_group("output").add_argument(
        "--output", default="detector.yaml", metavar="FILE", help="YAML file to write; must not exist"
    )
    parser.set_defaults(config_file="faster_rcnn_resnet50_fpn")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
