"""The rows of a comparison and the differences between them, with 95 % intervals."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from backbones.complexity import measure
from backbones.errors import InputError
from detection.comparison.finished import NOT_KNOWN, FinishedRun, is_known
from detection.comparison.truth import EvaluatedData, read_test_data
from detection.evaluation.bootstrap import (
    RESAMPLES,
    average_precision,
    draws,
    figures,
    interval,
    over_seeds,
)

from numpy import ndarray, stack

log = logging.getLogger("residet")

# Figures that get intervals, beside those of the classes; and the other figures of results.json in the table.
WITH_INTERVAL, OTHERS = ("AP", "AP50", "AP75"), ("APs", "APm", "APl")


@dataclass(frozen=True)
class Estimate:
    """A figure and the bounds of its 95 % interval; NaN for what is not known."""

    value: float
    low: float = NOT_KNOWN
    high: float = NOT_KNOWN

    @property
    def is_real(self) -> bool:
        """Of a difference: whether its interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass
class Row:
    """Runs of a detector that differ in their seed alone.

    Attributes:
        name: the name of the row, unlike those of other rows.
        wanted: number of seeds.
        runs: the finished runs.
        resamples: figure -> its values in the resamples of the test images, by seed: {"AP": {0: (B,)}}; empty without
            intervals.
        data: the test data; None without intervals.
        remark: why there are no intervals; "" if there are.
    """

    name: str
    wanted: int
    runs: list[FinishedRun]
    resamples: dict[str, dict[int, ndarray]] = field(default_factory=dict)
    data: EvaluatedData | None = None
    remark: str = ""

    @property
    def network(self) -> str:
        """Name of the network; "-" without a finished run."""
        return self.runs[0].spec.name if self.runs else "-"

    @property
    def head(self) -> str:
        """The kind of head, as `FinishedRun.head`; "-" without a finished run."""
        return self.runs[0].head if self.runs else "-"

    @property
    def start(self) -> str:
        """ "pretrained", "random", or "-" without a finished run."""
        return self.runs[0].start if self.runs else "-"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; () without a finished run."""
        return self.runs[0].classes if self.runs else ()

    @property
    def params(self) -> float:
        """Parameters of the network as a classifier, in millions."""
        return measure(self.runs[0].spec).params if self.runs else NOT_KNOWN

    @property
    def flops(self) -> float:
        """Multiply-adds of the network for an image of the papers' size, in billions."""
        return measure(self.runs[0].spec).flops if self.runs else NOT_KNOWN

    def of_seeds(self, figure: str) -> dict[int, float]:
        """A figure of COCO's evaluation by seed, in %, such as "AP50" or "AP-CLASS"; only those that are known."""
        values = {run.cfg.SEED: run.figure(f"bbox/{figure}") for run in self.runs}
        return {seed: value for seed, value in values.items() if is_known(value)}

    def mean(self, attribute: str) -> float:
        """The mean over seeds of an attribute of `FinishedRun`, over the runs that know its value."""
        values = [value for run in self.runs if is_known(value := getattr(run, attribute))]
        return statistics.fmean(values) if values else NOT_KNOWN

    def mean_speed(self, key: str) -> float:
        """The mean over seeds of a figure of speed.json."""
        values = [run.speed[key] for run in self.runs if isinstance(run.speed.get(key), int | float)]
        return statistics.fmean(values) if values else NOT_KNOWN

    def estimate(self, figure: str) -> Estimate:
        """The mean of a figure over seeds, and its interval over images and seeds."""
        values, drawn = self.of_seeds(figure), self.resamples.get(figure, {})
        if not values:
            return Estimate(NOT_KNOWN)
        mean = statistics.fmean(values.values())
        if not drawn:
            return Estimate(mean)
        low, high = interval(over_seeds(stack([*drawn.values()])), mean)
        return Estimate(mean, max(low, 0.0), min(high, 100.0))


@dataclass(frozen=True)
class Pair:
    """Two rows, and the differences of their figures, first minus second.

    Attributes:
        first: a row.
        second: a row on the same test data.
        seeds: the seeds that both have.
    """

    first: Row
    second: Row
    seeds: tuple[int, ...]

    def difference(self, figure: str) -> Estimate:
        """The difference of a figure, paired over images and seeds."""
        ours, theirs = self.first.of_seeds(figure), self.second.of_seeds(figure)
        seeds = [s for s in self.seeds if s in ours and s in theirs]
        if not seeds:
            return Estimate(NOT_KNOWN)
        mean = statistics.fmean(ours[s] - theirs[s] for s in seeds)
        drawn = [self.first.resamples[figure][s] - self.second.resamples[figure][s] for s in seeds]
        return Estimate(mean, *interval(over_seeds(stack(drawn)), mean))


def rows_of(groups: Mapping[str, Sequence[Path]]) -> list[Row]:
    """The rows of a comparison.

    Args:
        groups: name of a row -> the folders of its runs. A folder without results.json is of an unfinished run.

    Raises:
        InputError: what a finished run has left is damaged.
    """
    rows, read = [], {}
    for name, folders in groups.items():
        row = Row(name, len(folders), [FinishedRun(f) for f in folders if Path(f, "results.json").is_file()])
        try:
            _resample(row, read)
        except InputError as e:
            row.resamples, row.data, row.remark = {}, None, str(e)
            log.warning("%s: no intervals: %s", name, e)
        rows.append(row)
    return rows


def groups_of(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Sorts the folders of finished runs into rows: runs that differ in their seed alone are of one row.

    Args:
        folders: folders of finished runs.

    Returns:
        name of the row -> folders. The name has the network, the head and the start, and the folder if two rows would
        have the same name.

    Raises:
        InputError: a folder holds no finished run.
    """
    by_key: dict[str, list[FinishedRun]] = {}
    for folder in dict.fromkeys(map(Path, folders)):
        run = FinishedRun(folder)
        by_key.setdefault(run.key, []).append(run)
    names = [f"{r[0].spec.name} {r[0].head} {r[0].start}" for r in by_key.values()]
    groups: dict[str, list[Path]] = {}
    for name, runs in zip(names, by_key.values(), strict=True):
        unlike = name if names.count(name) == 1 else f"{name} ({runs[0].folder})"
        groups[unlike] = [run.folder for run in runs]
    return groups


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """All pairs of rows that were tested on the same data and have a seed in common."""
    pairs = []
    for first, second in combinations(rows, 2):
        theirs = {run.cfg.SEED for run in second.runs}
        seeds = tuple(run.cfg.SEED for run in first.runs if run.cfg.SEED in theirs)
        same = first.data and second.data and first.data.digest == second.data.digest
        if seeds and same and first.classes == second.classes:
            pairs.append(Pair(first, second, seeds))
    return pairs


def _resample(row: Row, read: dict[tuple, EvaluatedData]) -> None:
    """Fills in a row's resamples. The same images are drawn for every row on the same data.

    Args:
        row: the row.
        read: the test data that have been read, by what names them.
    """
    for run in row.runs:
        key = (run.dataset, run.classes, run.about and str(run.about["fingerprint"]["data"]))
        if key not in read:
            read[key] = read_test_data(run)
        data = read[key]
        matched = data.match(run)
        of_run = figures(average_precision(matched, draws(matched.images, RESAMPLES)), data.classes)
        if row.data and row.data.digest != data.digest:
            raise InputError(f"{run.folder}: was tested on other data than the other seeds of {row.name}")
        row.data = data
        for figure, values in of_run.items():
            row.resamples.setdefault(figure, {})[run.cfg.SEED] = values
