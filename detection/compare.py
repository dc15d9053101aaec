"""Compares networks as detectors: trains each config from several starts and seeds, and tables the results."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.hub import check_source
from detection.config import default_config
from residet.config import merge_config
from residet.sweep import deadline_in, finish

from tabulate import tabulate

RANDOM = "random"  # the `start` of a run from random weights
_COLUMNS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Run:
    """One training of the comparison.

    Attributes:
        config: file of the config.
        arch: name of the config's network.
        start: the checkpoint to start from, a file or a name; or "random".
        seed: the config's SEED.
    """

    config: Path
    arch: str
    start: str
    seed: int

    def folder(self, output: Path) -> Path:
        """The run's OUTPUT_DIR, a subfolder of `output`."""
        start = RANDOM if self.start == RANDOM else "pretrained"
        return output / f"{self.config.stem}_{start}_{self.seed}"

    def results(self, output: Path) -> dict | None:
        """The metrics on the first test set, by name; None if the run is not finished."""
        file = self.folder(output) / "results.json"
        return next(iter(json.loads(file.read_text()).values())) if file.is_file() else None


def runs(configs: Sequence[str], starts: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All combinations of configs, starts and seeds. The first seed comes first, so that a comparison is there early.

    Args:
        configs: files of configs.
        starts: "random", or a checkpoint, a file or a name of published weights, in which {arch} stands for the
            network's name.
        seeds: values of SEED.

    Raises:
        InputError: a config is broken, a checkpoint is missing or unknown, or two configs have the same file name.
    """
    todo = []
    for seed, name, start in itertools.product(seeds, configs, starts):
        cfg = default_config()
        merge_config(cfg, name, [])
        arch = spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
        path = start if start == RANDOM else start.replace("{arch}", arch)
        if path != RANDOM:
            check_source(path, arch)
        todo.append(Run(Path(name), arch, path, seed))
    folders = [run.folder(Path()) for run in todo]
    if shared := [f.name for f in folders if folders.count(f) > 1]:
        raise InputError(f"{shared[0]}: two runs would share this folder; give the configs' files different names")
    return todo


def compare(todo: Sequence[Run], train: Sequence[str], options: Sequence[str], output: Path, minutes: float) -> None:
    """Trains the runs that are not finished, until the time is up.

    The run that goes on at that time saves a checkpoint and stops. The next call resumes the run.

    Args:
        todo: the runs, in order.
        train: the command of tools/train_net.py, as words.
        options: arguments for every run, with KEY VALUE pairs last.
        output: folder of all runs.
        minutes: time that may pass; 0 for no limit.

    Raises:
        InputError: runs have failed. The error is raised after the other runs; the message names the failed ones.
    """
    deadline, failed = deadline_in(minutes), []
    for run in todo:
        folder = run.folder(output)

        def command(flags: Sequence[str], run: Run = run, folder: Path = folder) -> list[str]:
            weights = [] if run.start == RANDOM else ["MODEL.WEIGHTS", run.start]
            run_options = ["OUTPUT_DIR", str(folder), "SEED", str(run.seed), *weights]
            return [*train, "--config-file", str(run.config), *flags, *options, *run_options]

        try:
            if not finish(command, folder, deadline):
                break
        except InputError as e:
            failed.append(f"{folder.name}: {e}")
    if failed:
        raise InputError("; ".join(failed))


def summary(todo: Sequence[Run], output: Path) -> str:
    """A Markdown table with a row for each config and start: AP, AP50 and AP75 in %, and minutes of training.

    A cell is the mean over the finished seeds, with the standard deviation if there are several.
    """
    rows = []
    for (config, start), group in itertools.groupby(sorted(todo, key=_key), key=lambda r: (r.config, r.start)):
        same_start = list(group)
        results = [r for r in (run.results(output) for run in same_start) if r]
        figures = [_spread([r[c] for r in results if r.get(c) is not None]) for c in _COLUMNS]
        minutes = _spread([r["seconds"] / 60 for r in results])
        name = RANDOM if start == RANDOM else "pretrained"
        seeds = f"{len(results)} of {len(same_start)}"
        rows.append([config.stem, same_start[0].arch, name, seeds, *figures, minutes])
    return tabulate(
        rows, ["config", "network", "start", "seeds", *_COLUMNS, "minutes"], tablefmt="github", disable_numparse=True
    )


def _key(run: Run) -> tuple:
    return (str(run.config), run.start, run.seed)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"
