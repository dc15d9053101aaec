"""Networks side by side: the same data, the same config but for the network, several starts and seeds."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from detection.config import default_config
from residet.config import merge_config
from residet.sweep import deadline_in, finish

from tabulate import tabulate

RANDOM = "random"  # the start from random weights
_COLUMNS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config: its file.
        arch: the network of the config.
        start: a checkpoint's path, or "random".
        seed: of the run.
    """

    config: Path
    arch: str
    start: str
    seed: int

    def folder(self, output: Path) -> Path:
        start = RANDOM if self.start == RANDOM else "pretrained"
        return output / f"{self.config.stem}_{start}_{self.seed}"

    def results(self, output: Path) -> dict | None:
        """Of its first test set; None where it is not finished."""
        file = self.folder(output) / "results.json"
        return next(iter(json.loads(file.read_text()).values())) if file.is_file() else None


def runs(configs: Sequence[str], starts: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All combinations, seed by seed, so that a first comparison is there early.

    Args:
        configs: files.
        starts: "random", or the path of a checkpoint in which {arch} stands for the network's name.

    Raises:
        InputError: a config is broken, or a checkpoint is missing.
    """
    found = []
    for seed, name, start in itertools.product(seeds, configs, starts):
        cfg = default_config()
        merge_config(cfg, name, [])
        arch = spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
        path = start if start == RANDOM else start.replace("{arch}", arch)
        if path != RANDOM and not Path(path).is_file():
            raise InputError(f"--weights: {path} is missing; pretrain {arch} with tools/pretrain.py --arch {arch}")
        found.append(Run(Path(name), arch, path, seed))
    folders = [run.folder(Path()) for run in found]
    if twice := [f.name for f in folders if folders.count(f) > 1]:
        raise InputError(f"{twice[0]}: two runs would share this folder; give configs different names")
    return found


def compare(todo: Sequence[Run], train: Sequence[str], options: Sequence[str], output: Path, minutes: float) -> None:
    """Trains what is not done yet, until time is up; the run that is going on then is saved.

    Args:
        todo: what to do, in order.
        train: the command of tools/train_net.py.
        options: of every run, KEY VALUE pairs last.
        output: of all runs.
        minutes: that may pass; 0 for no limit.

    Raises:
        InputError: some runs failed, after the others are done.
    """
    deadline, failed = deadline_in(minutes), []
    for run in todo:
        folder = run.folder(output)

        def command(flags: Sequence[str], run: Run = run, folder: Path = folder) -> list[str]:
            weights = [] if run.start == RANDOM else ["MODEL.WEIGHTS", run.start]
            own = ["OUTPUT_DIR", str(folder), "SEED", str(run.seed), *weights]
            return [*train, "--config-file", str(run.config), *flags, *options, *own]

        try:
            if not finish(command, folder, deadline):
                break
        except InputError as e:
            failed.append(f"{folder.name}: {e}")
    if failed:
        raise InputError("; ".join(failed))


def summary(todo: Sequence[Run], output: Path) -> str:
    """Markdown: a line per config and start; mean and, of several seeds, standard deviation; in %."""
    rows = []
    for (config, start), group in itertools.groupby(sorted(todo, key=_key), key=lambda r: (r.config, r.start)):
        of_group = list(group)
        results = [r for r in (run.results(output) for run in of_group) if r]
        figures = [_spread([r[c] for r in results if r.get(c) is not None]) for c in _COLUMNS]
        minutes = _spread([r["seconds"] / 60 for r in results])
        name = RANDOM if start == RANDOM else "pretrained"
        rows.append([config.stem, of_group[0].arch, name, f"{len(results)} of {len(of_group)}", *figures, minutes])
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
