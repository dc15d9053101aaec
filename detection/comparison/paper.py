"""Lays out the papers' detection tables (papers.yaml): ours beside the printed figures, and commands for the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from detection.comparison.finished import FinishedRun, is_known
from detection.config import default_config
from residet.config import merge_config
from residet.fingerprint import plain_config

import yaml
from detectron2.config import CfgNode
from tabulate import tabulate

# Keys that a run fills in from its data and weights, and the seed.
_FILLED_IN = {
    "SEED",
    "DATASETS.CLASSES",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "INPUT.FORMAT",
}


@dataclass(frozen=True)
class Cell:
    """One figure of a table.

    Attributes:
        printed: the paper's figure, in %.
        config: name of the recipe that would give the figure.
        figure: name of the figure in results.json; "" where an evaluation server has the truth.
        eval: name of the recipe whose weights `config` tests; "" where `config` trains.
    """

    printed: float
    config: str
    figure: str = ""
    eval: str = ""

    @property
    def commands(self) -> list[str]:
        """The commands that would fill the cell, one after the other."""
        if not self.eval:
            return [_training(self.config)]
        weights = f"{_recipe(self.eval).OUTPUT_DIR}/model_final.pth"
        test = f"tools/train_net.py --config-file {self.config} --eval-only --weights {weights}"
        return [_training(self.eval), test]

    def ours(self, runs: Sequence[FinishedRun]) -> float | None:
        """The figure of the first run that has the recipe's config; None without such a run."""
        recipe = _recipe(self.config)
        for run in runs if self.figure else ():
            value = run.figure(self.figure)
            if is_known(value) and _follows(run, recipe):
                return value
        return None


@functools.cache
def papers() -> dict[str, list[dict]]:
    """The tables of each paper: {"resnet": [{"title", "rows": {row: {column: Cell}}}], …}."""
    content = yaml.safe_load(Path(__file__).with_name("papers.yaml").read_text(encoding="utf-8"))
    for table in (table for tables in content.values() for table in tables):
        rows = table["rows"] if "rows" in table else _rows_of_classes(table.pop("classes"))
        table["rows"] = {row: {c: Cell(**cell) for c, cell in cells.items()} for row, cells in rows.items()}
    return content


def _rows_of_classes(classes: dict) -> dict[str, dict[str, dict]]:
    """The rows of a table with a figure of each class."""
    return {
        name: {
            title: {
                "printed": column["printed"][i],
                "figure": classes["figure"].format(name),
                "config": column["config"],
            }
            for title, column in classes["columns"].items()
        }
        for i, name in enumerate(classes["names"])
    }


def lay_out(paper: str, folders: Sequence[Path]) -> str:
    """The tables of a paper as Markdown.

    Args:
        paper: a key of `papers()`.
        folders: folders of runs, beside those that the recipes' OUTPUT_DIR name. Unfinished runs are passed over.

    Raises:
        InputError: `paper` is unknown.
    """
    if paper not in papers():
        raise InputError(f"--paper: {paper!r} is none of {', '.join(papers())}")
    runs = list(_finished([*folders, *(Path(_recipe(cell.config).OUTPUT_DIR) for cell in _cells(paper))]))
    parts, commands = [], dict[str, int]()
    for table in papers()[paper]:
        columns = list(dict.fromkeys(c for cells in table["rows"].values() for c in cells))
        titles = ["", *(title for c in columns for title in (f"{c}, paper", "ours"))]
        body = [
            [row, *(t for c in columns for t in _shown(cells[c], runs, commands))]
            for row, cells in table["rows"].items()
        ]
        parts.append(f"{table['title']}:\n\n{tabulate(body, titles, tablefmt='github', disable_numparse=True)}")
    if commands:
        lines = "\n".join(f"[{number}] {command}" for command, number in commands.items())
        parts.append(f"What would fill the empty cells (ARCH.pth: the pretrained network):\n\n{lines}")
    return "\n\n".join(parts)


def _shown(cell: Cell, runs: Sequence[FinishedRun], commands: dict[str, int]) -> tuple[str, str]:
    """The printed figure, and ours or the number of the command that would give it."""
    ours = cell.ours(runs)
    if ours is not None:
        return f"{cell.printed:.1f}", f"{ours:.1f}"
    for command in cell.commands:
        number = commands.setdefault(command, len(commands) + 1)
    return f"{cell.printed:.1f}", f"[{number}]" if cell.figure else f"[{number}], by the server"


def _cells(paper: str) -> Iterator[Cell]:
    for table in papers()[paper]:
        for cells in table["rows"].values():
            yield from cells.values()


def _finished(folders: Sequence[Path]) -> Iterator[FinishedRun]:
    for folder in dict.fromkeys(folders):
        if (folder / "results.json").is_file():
            yield FinishedRun(folder)


@functools.cache
def _recipe(name: str) -> CfgNode:
    cfg = default_config()
    merge_config(cfg, name, [])
    return cfg


def _training(config: str) -> str:
    """The command that trains a recipe, from the weights that the recipe names or from a pretrained network."""
    recipe = _recipe(config)
    arch = spec_of_builder(recipe.MODEL.BACKBONE.NAME).name
    return f"tools/train_net.py --config-file {config} --weights {recipe.MODEL.WEIGHTS or f'{arch}.pth'}"


def _follows(run: FinishedRun, recipe: CfgNode) -> bool:
    """Whether a run has the config of a recipe, and the recipe's data. An evaluation has no training data."""
    ours, theirs = plain_config(run.cfg), plain_config(recipe)
    same = all(ours.get(key) == value for key, value in theirs.items() if key not in _FILLED_IN)
    trained_on = run.cfg.DATASETS.TRAIN in ((), [], recipe.DATASETS.TRAIN)
    return same and trained_on and tuple(run.cfg.DATASETS.TEST) == tuple(recipe.DATASETS.TEST)
