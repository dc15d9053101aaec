"""Trains and tests the networks of a paper's table, within a time limit, and lists their errors beside the paper's."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.errors import InputError
from classification.papers.published import Table, tables
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
# First word of a published statistic -> what it makes of the errors of several runs. A single run is the first seed's.
STATISTICS = {"median": statistics.median, "mean": statistics.fmean, "best": min, "single": lambda errors: errors[0]}


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
        seed: SEED of the training; None for the recipe's.
    """

    table: Table
    arch: str
    seed: int | None = None

    def folder(self, output: Path) -> Path:
        """OUTPUT_DIR of the training. Tables that differ only in the test share the training."""
        folder = output / self.table.data / Path(self.table.recipe(self.arch)).stem / self.arch
        return folder if self.seed is None else folder / f"seed_{self.seed}"

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
        seed = [] if self.seed is None else ["SEED", self.seed]
        return Arguments([*map(str, [*recipe, *flags])], [*map(str, [*seed, *overrides])])

    def errors(self, output: Path) -> dict[int, float]:
        """{k: measured top-k error in %}; empty before the entry was tested."""
        path = self.results(output)
        results = json.loads(path.read_text()) if path.is_file() else {}
        suffix = f"_{self.table.way}way" if self.table.way else ""
        return {k: results[name] for k in (1, 5) if (name := f"top{k}_error{suffix}") in results}


def entries(names: Sequence[str], seeds: Sequence[int | None] = (None,)) -> list[Entry]:
    """The entries that the user names, in order. All have the first seed before one has the second.

    Args:
        names: each is TABLE (all its networks), TABLE:NETWORK, or a name of SELECTIONS.
        seeds: SEED of each training of a network; None for the recipe's.

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
    return [replace(entry, seed=seed) for seed in seeds for entry in chosen]


def runs_of(todo: Sequence[Entry], configs: Path, output: Path) -> Iterator[tuple[Path, Arguments]]:
    """OUTPUT_DIR and arguments of each training, and of each test of its own, of the entries.

    Args:
        todo: the entries.
        configs: the folder configs/classification.
        output: the folder of all runs.
    """
    for entry in todo:
        yield entry.folder(output), entry.training(configs, output)
        if test := entry.test(configs, output):
            yield entry.results(output).parent, test


def check(runs: Iterable[tuple[Path, Arguments]], options: Sequence[str], planned: Callable[[list[str]], dict]) -> None:
    """Checks that the runs in folders are those that would be started.

    Args:
        runs: OUTPUT_DIR and arguments of each run.
        options: arguments of every run: flags first, KEY VALUE pairs last.
        planned: the fingerprint of the run that arguments of tools/pretrain.py ask for.

    Raises:
        InputError: a folder holds another run.
    """
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
    """A text table: the measured errors beside the paper's, in %. Of several seeds, the paper's statistic."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in done:
        groups.setdefault((entry.table.name, entry.arch), []).append(entry)
    rows = [_row(runs, output) for runs in groups.values()]
    repeated = [row[:2] + row[6:] + row[2:6] for row in rows] if any(row[6:] for row in rows) else rows
    heads = ["table", "network"] + (["statistic", "runs", "mean", "std"] if repeated is not rows else [])
    heads += ["top-1 %", "paper's"]
    if any(entry.table.error[entry.arch][1:] for entry in done):
        heads += ["top-5 %", "paper's"]
    return tabulate([row[: len(heads)] for row in repeated], heads, floatfmt=".2f", missingval="-")


def _row(runs: Sequence[Entry], output: Path) -> list:
    """[table, network, top-1 error, paper's, top-5 error, paper's] of one network's runs, in %; None for no figure.

    With seeds the row goes on with the paper's statistic, the number of measured runs, and the mean and standard
    deviation of their top-1 errors.
    """
    first = runs[0]
    table, arch = first.table, first.arch
    measured = [errors for entry in runs if (errors := entry.errors(output))]
    statistic = table.statistic_of(arch)
    printed = [*table.error[arch], None, None]
    cells = []
    for k, published in zip((1, 5), printed, strict=False):
        values = [errors[k] for errors in measured if k in errors]
        cells += [STATISTICS[statistic.split()[0]](values) if values else None, published]
    if first.seed is None:
        return [table.name, arch, *cells]
    top1 = [errors[1] for errors in measured]
    mean = statistics.fmean(top1) if top1 else None
    spread = table.spread.get(arch)
    words = f"{statistic}, {spread[0]:.2f} ± {spread[1]:.2f}" if spread else statistic
    return [table.name, arch, *cells, words, len(top1), mean, statistics.stdev(top1) if len(top1) > 1 else None]
