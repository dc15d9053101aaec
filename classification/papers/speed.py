"""Measures a training step of the networks whose speed the papers print, as ratios to one network of the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.errors import InputError, did_you_mean
from residet.progress import progress

import torch
import yaml
from tabulate import tabulate
from torch import nn


@dataclass(frozen=True)
class SpeedTable:
    """One table of speed.yaml.

    Attributes:
        name: the name that `tools/reproduce.py speed:NAME` takes.
        source: paper and table, with the unit of the figures.
        size: side of an image in pixels.
        batch: images in a step.
        time: {network: the paper's time, None where the text has none}; the first network is what the others are set
            against.
    """

    name: str
    source: str
    size: int
    batch: int
    time: dict[str, float | None]


@cache
def speed_tables() -> dict[str, SpeedTable]:
    """All tables of speed.yaml, by name."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return {name: SpeedTable(name, **fields) for name, fields in content.items()}


def chosen_tables(names: Sequence[str]) -> list[SpeedTable]:
    """The tables that the user names as "speed" (all) or "speed:NAME".

    Raises:
        InputError: a table is unknown.
    """
    tables = speed_tables()
    chosen = []
    for name in (choice.partition(":")[2] for choice in names):
        if name and name not in tables:
            raise InputError(f"speed:{name}: no such table; there are {', '.join(tables)}{did_you_mean(name, tables)}")
        chosen += [tables[name]] if name else tables.values()
    return list({table.name: table for table in chosen}.values())


class Step:
    """A training step of a network on one batch of random images: forward, backward, SGD's update.

    Args:
        arch: name of the network.
        size: side of an image in pixels.
        batch: number of images.
        device: device of the network.
    """

    def __init__(self, arch: str, size: int, batch: int, device: torch.device):
        spec = get_spec(arch)
        self.network = spec.build(spec.num_classes).to(device).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.001, momentum=0.9)
        self.images = torch.randn(batch, 3, size, size, device=device)
        self.labels = torch.randint(spec.num_classes, (batch,), device=device)
        self.device = device

    def seconds(self) -> float:
        """Runs the step once; returns the time."""
        self._wait()
        start = time.perf_counter()
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(table: SpeedTable, device: torch.device, steps: int, batch: int = 0) -> dict[str, float]:
    """The median time in s of a step of each network of a table.

    The networks take turns, so that other work on the machine hits all of them alike. A first step is not counted.

    Args:
        table: the networks.
        device: where to run.
        steps: number of steps that count.
        batch: images in a step; 0 for the table's.

    Raises:
        InputError: the device has too little memory.
    """
    times: dict[str, list[float]] = {arch: [] for arch in table.time}
    batch = batch or table.batch
    try:
        runs = {arch: Step(arch, table.size, batch, device) for arch in table.time}
        for number in progress(range(steps + 1), desc=table.name, unit="step", leave=False):
            for arch, run in runs.items():
                seconds = run.seconds()
                if number:
                    times[arch].append(seconds)
    except torch.OutOfMemoryError as e:
        raise InputError(f"speed:{table.name}: a batch of {batch} does not fit into the memory; give --batch") from e
    return {arch: statistics.median(values) for arch, values in times.items()}


def ratios(measured: dict[str, dict[str, float]]) -> list[dict]:
    """Each time, and its ratio to the first network of its table beside the paper's ratio.

    Args:
        measured: {table: {network: s}}, as `measure` gives it.

    Returns:
        [{"table", "network", "seconds", "ratio", "paper": the paper's ratio, None where it has none}].
    """
    rows = []
    for name, times in measured.items():
        paper = speed_tables()[name].time
        first = next(iter(times))
        for arch, seconds in times.items():
            row = {"table": name, "network": arch, "seconds": seconds, "ratio": seconds / times[first]}
            rows.append(row | {"paper": paper[arch] and paper[arch] / paper[first]})
    return rows


def summary(rows: Sequence[dict]) -> str:
    """A text table of what `ratios` gives."""
    heads = ["table", "network", "ms a step", "ratio", "paper's"]
    body = [[row["table"], row["network"], 1000 * row["seconds"], row["ratio"], row["paper"]] for row in rows]
    return tabulate(body, heads, floatfmt=("", "", ".1f", ".2f", ".2f"), missingval="-")
