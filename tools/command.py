"""The command `residet`: every tool under one name.

residet train --config-file faster_rcnn_resnet50_fpn --data DIR
residet train --help
"""

import importlib
import os
import sys

from residet.cli.arguments import Parser

# Name after `residet` -> module of the tool. The module's main(argv) returns the exit code; its docstring begins with
# what the tool does. The module imports nothing heavy before its arguments are parsed.
TOOLS = {
    "train": "train_net",
    "predict": "predict",
    "pretrain": "pretrain",
    "compare": "compare",
    "report": "report",
    "inspect": "inspect_data",
    "convert": "convert",
    "export": "export",
    "propose": "propose",
    "localise": "localise",
    "reproduce": "reproduce",
    "complexity": "complexity",
    "layer-response": "layer_response",
    "demo": "demo",
    "doctor": "doctor",
    "new": "new_config",
}


def load(name):
    """The module of the tool `name`."""
    return importlib.import_module(f"{__package__}.{TOOLS[name]}" if __package__ else TOOLS[name])


def parser_of_names():
    """The parser of the tool's name, whose help has a line for each tool."""
    parser = Parser("command.py", __doc__)
    parser.add_argument("tool", choices=TOOLS, metavar="TOOL", help="one of the tools below; TOOL --help says more")
    lines = [f"  {name:15} {load(name).__doc__.splitlines()[0]}" for name in TOOLS]
    parser.epilog = "\n".join(["tools:", *lines])
    return parser


def completed_words():
    """The arguments that a shell's completion has before the cursor."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", 0))]
    return line.split()[1:] if line.endswith(" ") else line.split()[1:-1]


def main(argv=None):
    """Runs the tool that the first argument names, with the others; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    completing = "_ARGCOMPLETE" in os.environ
    name = next(iter(completed_words() if completing else argv), "")
    # What help and messages call the program, and the words that start it again.
    program = f"{sys.executable} -m residet" if sys.argv[0].endswith(".py") else sys.argv[0]
    sys.argv[0] = program
    if name not in TOOLS:
        parser_of_names().parse_args(argv[:1])
    if completing:
        os.environ["_ARGCOMPLETE"] = "2"  # the words of the tool begin with its name
    sys.argv[0] = f"{program} {name}"
    return load(name).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
