"""Trains and tests the networks of a paper's table, within a time limit, and lists their errors beside the paper's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from classification.published import Table, tables
from residet.fingerprint import check_fingerprint
from residet.sweep import begun, call, deadline_in, finish

from tabulate import tabulate

# Selections over several tables: {name: (TABLE:NETWORK, …)}, the most telling first.
SELECTIONS = {
    "cifar10": (
        "resnet_cifar10:cifar_resnet20",
        "wrn_cifar10:cifar_wrn16_8",
        "resnet_cifar10:cifar_resnet56",
        "wrn_cifar10:cifar_wrn28_10",
        "wrn_cifar10:cifar_wrn28_10_d0.3",
        "resnet_cifar10:cifar_resnet110",
        "resnext_cifar10:cifar_resnext29_8x64d",
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Arguments of tools/pretrain.py: flags, then KEY VALUE pairs."""

    flags: list[str]
    overrides: list[str]

    def joined(self, options: Sequence[str], *more: str) -> list[str]:
        """All arguments: `more` flags and the user's `options`, which end with KEY VALUE pairs, in between."""
        return [*self.flags, *more, *options, *self.overrides]


@dataclass(frozen=True)
class Entry:
    """A network of a table: how to train the network, and how to test the network as the table does.

    Attributes:
        table: the paper's table.
        arch: name of the network.
    """

    table: Table
    arch: str

    def folder(self, output: Path) -> Path:
        """OUTPUT_DIR of the training. Tables that differ only in the test share the training."""
        return output / self.table.data / Path(self.table.recipe(self.arch)).stem / self.arch

    def results(self, output: Path) -> Path:
        """The file with the errors in the test of this table."""
        folder = self.folder(output)
        return (folder / self.table.name if self.table.test else folder) / "results.json"

    def training(self, configs: Path, output: Path) -> Arguments:
        """The arguments of tools/pretrain.py that train the network, without those of the user."""
        return self._arguments(configs, [], ["OUTPUT_DIR", self.folder(output)])

    def test(self, configs: Path, output: Path) -> Arguments | None:
        """The arguments of tools/pretrain.py that test the network as the table does; None if the training does."""
        if not self.table.test:
            return None
        test = ["OUTPUT_DIR", self.results(output).parent, "MODEL.WEIGHTS", self.folder(output) / "model_final.pth"]
        for key, value in self.table.test.items():
            test += [f"CLASSIFICATION.{'' if key == 'RESIZE' else 'TEST.'}{key}", value]
        return self._arguments(configs, ["--eval-only"], test)

    def _arguments(self, configs: Path, flags: list, overrides: list) -> Arguments:
        recipe = ["--config-file", configs / self.table.recipe(self.arch), "--arch", self.arch]
        return Arguments([*map(str, [*recipe, *flags])], [*map(str, overrides)])

    def row(self, output: Path) -> list:
        """[table, network, measured error, published error, …] in %; None for an error not yet measured."""
        path = self.results(output)
        errors = json.loads(path.read_text()) if path.is_file() else {}
        suffix = f"_{self.table.way}way" if self.table.way else ""
        pairs = zip((1, 5), self.table.error[self.arch], strict=False)
        cells = [value for k, published in pairs for value in (errors.get(f"top{k}_error{suffix}"), published)]
        return [self.table.name, self.arch, *cells]


def entries(names: Sequence[str]) -> list[Entry]:
    """The entries that the user names, in order.

    Args:
        names: each is TABLE (all its networks), TABLE:NETWORK, or a name of SELECTIONS.

    Raises:
        InputError: a table or a network is unknown.
    """
    chosen = []
    for choice in itertools.chain.from_iterable(SELECTIONS.get(name, (name,)) for name in names):
        table, _, arch = choice.partition(":")
        if table not in tables():
            raise InputError(f"{table}: no such table; there are {', '.join([*SELECTIONS, *tables()])}")
        archs = tables()[table].error
        if arch and arch not in archs:
            raise InputError(f"{choice}: {table} has no such network; the table has {', '.join(archs)}")
        chosen += [Entry(tables()[table], a) for a in ([arch] if arch else archs)]
    return chosen


def check(
    todo: Sequence[Entry],
    options: Sequence[str],
    configs: Path,
    output: Path,
    planned: Callable[[list[str]], dict],
) -> None:
    """Checks that the runs in the folder of the entries are those that `run` would start.

    Args:
        todo: the entries.
        options: arguments of every run: flags first, KEY VALUE pairs last.
        configs: the folder configs/classification.
        output: the folder of all runs.
        planned: the fingerprint of the run that arguments of tools/pretrain.py ask for.

    Raises:
        InputError: a folder holds another run.
    """
    for entry in todo:
        runs = [(entry.folder(output), entry.training(configs, output))]
        runs += [(entry.results(output).parent, test)] if (test := entry.test(configs, output)) else []
        for folder, arguments in runs:
            if begun(folder):
                check_fingerprint(folder, planned(arguments.joined(options)))


def run(
    todo: Sequence[Entry],
    pretrain: Sequence[str],
    options: Sequence[str],
    configs: Path,
    output: Path,
    minutes: float,
) -> None:
    """Trains and tests the entries that have no results yet. When time is up, saves the current run and returns.

    Args:
        todo: the entries.
        pretrain: the command that runs tools/pretrain.py.
        options: arguments of every run: flags first, KEY VALUE pairs last.
        configs: the folder configs/classification.
        output: the folder of all runs.
        minutes: time limit in minutes; 0 for no limit.

    Raises:
        InputError: a run failed.
    """
    deadline = deadline_in(minutes)
    for entry in todo:
        training, test = entry.training(configs, output), entry.test(configs, output)

        def command(flags: Sequence[str], training: Arguments = training) -> list[str]:
            return [*pretrain, *training.joined(options, *flags)]

        if not finish(command, entry.folder(output), deadline):
            return
        if test and not entry.results(output).is_file() and not call([*pretrain, *test.joined(options)], deadline):
            return


def summary(done: Sequence[Entry], output: Path) -> str:
    """A text table: the measured errors beside the paper's, in %."""
    heads = ["table", "network", "top-1 %", "paper's", "top-5 %", "paper's"]
    rows = [entry.row(output) for entry in done]
    width = max(map(len, rows))
    return tabulate(rows, heads[:width], floatfmt=".2f", missingval="-")
