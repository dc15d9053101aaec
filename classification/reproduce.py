"""Runs the list of networks of a paper's table, as long as there is time, and sets the errors beside the paper's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from classification.published import Table, tables
from residet.sweep import call, deadline_in, finish

from tabulate import tabulate

# Lists over several tables, the most telling first: TABLE:NETWORK.
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
class Entry:
    """A cell of a table: the training that it needs, and the test."""

    table: Table
    arch: str

    def folder(self, output: Path) -> Path:
        """Of the run; tables that differ in the test alone share it."""
        return output / self.table.data / Path(self.table.recipe(self.arch)).stem / self.arch

    def results(self, output: Path) -> Path:
        """The errors in this table's test."""
        folder = self.folder(output)
        return (folder / self.table.name if self.table.test else folder) / "results.json"

    def row(self, output: Path) -> list:
        """[table, network, ours, the paper's …], where None is not yet known."""
        path = self.results(output)
        ours = json.loads(path.read_text()) if path.is_file() else {}
        suffix = f"_{self.table.way}way" if self.table.way else ""
        pairs = zip((1, 5), self.table.error[self.arch], strict=False)
        cells = [value for k, published in pairs for value in (ours.get(f"top{k}_error{suffix}"), published)]
        return [self.table.name, self.arch, *cells]


def entries(names: Sequence[str]) -> list[Entry]:
    """What TABLE, TABLE:NETWORK and names of SELECTIONS stand for, in order.

    Raises:
        InputError: a table or network is unknown.
    """
    found = []
    for part in itertools.chain.from_iterable(SELECTIONS.get(name, (name,)) for name in names):
        table, _, arch = part.partition(":")
        if table not in tables():
            raise InputError(f"{table}: no such table; there are {', '.join([*SELECTIONS, *tables()])}")
        archs = tables()[table].error
        if arch and arch not in archs:
            raise InputError(f"{part}: {table} has no such network; it has {', '.join(archs)}")
        found += [Entry(tables()[table], a) for a in ([arch] if arch else archs)]
    return found


def run(
    todo: Sequence[Entry],
    pretrain: Sequence[str],
    options: Sequence[str],
    configs: Path,
    output: Path,
    minutes: float,
) -> None:
    """Trains and tests what is not done yet, until time is up; the run that is going on then is saved.

    Args:
        todo: what to do.
        pretrain: the command of tools/pretrain.py.
        options: of every run, KEY VALUE pairs last.
        configs: configs/classification.
        output: of all runs.
        minutes: that may pass; 0 for no limit.

    Raises:
        InputError: a run failed.
    """

    def command(entry: Entry, own: list, overrides: list) -> list[str]:
        recipe = ["--config-file", configs / entry.table.recipe(entry.arch), "--arch", entry.arch]
        return [*pretrain, *map(str, [*recipe, *own, *options, *overrides])]

    deadline = deadline_in(minutes)
    for entry in todo:
        folder = entry.folder(output)
        if not finish(lambda flags, e=entry, f=folder: command(e, flags, ["OUTPUT_DIR", f]), folder, deadline):
            return
        if not entry.results(output).is_file():
            test = ["OUTPUT_DIR", entry.results(output).parent, "MODEL.WEIGHTS", folder / "model_final.pth"]
            for key, value in entry.table.test.items():
                test += [f"CLASSIFICATION.{'' if key == 'RESIZE' else 'TEST.'}{key}", value]
            if not call(command(entry, ["--eval-only"], test), deadline):
                return


def summary(done: Sequence[Entry], output: Path) -> str:
    """The table: our errors beside the paper's, in %."""
    heads = ["table", "network", "top-1 %", "paper's", "top-5 %", "paper's"]
    rows = [entry.row(output) for entry in done]
    width = max(map(len, rows))
    return tabulate(rows, heads[:width], floatfmt=".2f", missingval="-")
