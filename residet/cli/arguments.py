"""The command line of the tools: parsers whose help has groups, defaults and examples, and whose errors suggest names.

This module imports nothing heavy: a tool parses its arguments first and imports torch and detectron2 afterwards, so
that --help and a wrong argument are answered at once.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from backbones.errors import did_you_mean
from residet.cli.configs import config_names

OVERRIDES = "keys and values that override the config, such as SOLVER.BASE_LR 0.01"


class Parser(argparse.ArgumentParser):
    """argparse's parser, with the defaults in its help, and one line for a wrong argument, which names the nearest.

    Options may come before, between and after the positional arguments. The result has the attribute `command`, the
    words of the command line.

    Args:
        tool: file name of the tool, as the examples in `description` have it: tools/TOOL. The help shows the examples
            with the command that the user has given in its place.
        description: what the tool does, and examples.
    """

    def __init__(self, tool: str, description: str):
        super().__init__(formatter_class=_Formatter)
        started_as_file = self.prog.endswith(".py")
        self.description = description if started_as_file else description.replace(f"tools/{tool}", self.prog)

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions, and ends the program when it has them
            import argcomplete

            argcomplete.autocomplete(self)
        words = list(sys.argv[1:] if args is None else args)
        parsed, unknown = self.parse_known_intermixed_args(words, namespace)
        for word in unknown:
            known = did_you_mean(word.partition("=")[0], self._option_string_actions) if word.startswith("-") else ""
            self.error(f"unknown argument {word}{known}")
        parsed.command = [*_program(), *words]
        return parsed

    def error(self, message: str):
        """Ends the program with exit code 2 and one message, as every mistake of the user does."""
        self.exit(2, f"error: {message}\n{self.prog} --help lists the arguments\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            hint = did_you_mean(str(value), names)
            raise argparse.ArgumentError(action, f"{value!r} is none of {', '.join(names)}{hint}")


def whole(low: int = 0, high: int = 2**31 - 1) -> Callable[[str], int]:
    """The `type` of an argument that is a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            number = int(text) if len(text) < 20 else high + 1  # Python reads no number of more than 4,300 digits
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            limits = f"from {low} to {high}" if high < 2**31 - 1 else f"of {low} or more, and below 2^31"
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number {limits}")
        return number

    return convert


def real(low: float = 0.0, high: float = 1e6) -> Callable[[str], float]:
    """The `type` of an argument that is a number from `low` to `high`."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and low <= number <= high):
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from {low:g} to {high:g}")
        return number

    return convert


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and adds the default to the help of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        flag = action.nargs == 0  # such as --no-pictures, which takes no value
        none = flag or action.default in ("", []) or any(action.default is x for x in (None, argparse.SUPPRESS))
        if none or not action.option_strings or "default" in action.help:
            return action.help
        return f"{action.help}; default %(default)s"


def processes_of(count: int) -> list[str]:
    """The words that start a Python file or module in `count` processes of this machine, behind the name of Python."""
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []


def _program() -> list[str]:
    """The words that start this program again, without its arguments."""
    name = sys.argv[0]
    processes = processes_of(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))  # torchrun's variable
    if name.endswith(".py"):
        return [sys.executable, *processes, name]
    program, _, tool = name.rpartition(" ")  # as tools/command.py writes it
    if processes or program.endswith(" -m residet"):
        return [sys.executable, *processes, "-m", "residet", tool]
    return [program, tool] if program else [name]


def command_to_resume(args: argparse.Namespace, overrides: Sequence = ()) -> str:
    """The command that goes on with a run, for the user to copy: the run's own with --resume.

    Args:
        args: the arguments that the run was started with, from `Parser`.
        overrides: KEY, VALUE, … that the run has drawn and a resumed run must be given.
    """
    if int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1:  # torchrun's variable: the number of machines
        return "the same torchrun command on each machine, with " + shlex.join(["--resume", *map(str, overrides)])
    flag = [] if "--resume" in args.command else ["--resume"]
    return shlex.join([*args.command, *flag, *map(str, overrides)])


def run_parser(tool: str, description: str) -> tuple[Parser, argparse._ArgumentGroup, argparse._ArgumentGroup]:
    """A parser with the arguments of detectron2's tools: --config-file, --resume, --num-gpus, … and KEY VALUE pairs.

    Args:
        tool: file name of the tool.
        description: what the tool does, with examples.

    Returns:
        the parser, and its groups for the tool's own options: on the data; on the network and its weights.
    """
    parser = Parser(tool, description)
    data, network = (parser.add_argument_group(title) for title in ("data", "network and weights"))
    run = parser.add_argument_group("run")
    add_config_file(run)
    run.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT_DIR, from its last checkpoint")
    run.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, without training")
    machines = parser.add_argument_group("machines")
    machines.add_argument(
        "--num-gpus", type=whole(), metavar="N", help="GPUs of each machine; default 1, or 0 where there is none"
    )
    machines.add_argument("--num-machines", type=whole(1), default=1, metavar="N", help="number of machines")
    machines.add_argument(
        "--machine-rank", type=whole(), default=0, metavar="N", help="number of this machine, from 0 on"
    )
    machines.add_argument(
        "--dist-url", default="auto", metavar="URL", help="tcp://HOST:PORT of machine 0, for several machines"
    )
    parser.add_argument("opts", nargs="*", default=[], metavar="KEY VALUE", help=OVERRIDES)
    return parser, data, network


def add_config_file(group) -> None:
    """Adds --config-file. Its completion in a shell lists the configs that residet brings."""
    action = group.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="YAML file, or the name of a config of residet, such as faster_rcnn_wrn34_2 or bccd/resnet18_fpn",
    )
    action.completer = _configs_and_files


def _configs_and_files(prefix: str, **_) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return [*config_names(), *FilesCompleter(("yaml",))(prefix)]


def add_overrides(group, text: str = OVERRIDES) -> None:
    """Adds --set KEY VALUE …, for tools that have positional arguments of their own."""
    group.add_argument("--set", dest="opts", nargs="+", default=[], metavar="KEY VALUE", help=text)


def add_sweep(parser: Parser, output: str) -> None:
    """Adds the arguments of a tool that runs other tools: --processes, --minutes, --set and --output.

    Args:
        parser: the parser of the tool.
        output: the default of --output.
    """
    run = parser.add_argument_group("run")
    run.add_argument("--processes", type=whole(1), default=1, metavar="N", help="processes of each run, one per GPU")
    run.add_argument(
        "--minutes",
        type=real(),
        default=0,
        metavar="M",
        help="time limit, at which the current run is saved; 0: none",
    )
    add_overrides(run, "keys and values that override the config, for every run")
    parser.add_argument_group("output").add_argument(
        "--output", default=output, metavar="DIR", help="folder of all runs; the same folder goes on with its runs"
    )
