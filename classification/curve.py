"""The training curve: training loss and test error over epochs (Wide ResNet, Fig. 2)."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.figure


def read_metrics(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Reads the metrics.json that a run writes.

    Returns:
        {name of the metric: [(iteration, value), …]}, by rising iteration. If a resumed run repeated an iteration, the
        later value counts.
    """
    series: dict[str, dict[int, float]] = {}
    for line in Path(path).read_text().splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:  # the run was killed while it wrote this line
            continue
        for name, value in values.items():
            series.setdefault(name, {})[values["iteration"]] = value
    return {name: sorted(values.items()) for name, values in series.items()}


def draw_curve(metrics: str | Path, path: str | Path, title: str, per_epoch: float) -> None:
    """Draws the training loss (dashed, left axis) and the test error (solid, right axis) over epochs.

    If the run averaged its weights, the test error of the averaged weights is drawn too.

    Args:
        metrics: the metrics.json of the run.
        path: the picture to write, a `.png`, `.pdf` or `.svg` file.
        title: text above the picture.
        per_epoch: number of iterations in a pass over the training set.
    """
    series = read_metrics(metrics)
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    loss = figure.subplots()
    error = loss.twinx()
    errors = {"val/top1_error": "test error", "val_ema/top1_error": "test error of the averaged weights"}
    for name, label in errors.items():
        if name in series:
            error.plot(*_over_epochs(series[name], per_epoch), label=label, marker=".")
    if "total_loss" in series:
        loss.plot(*_over_epochs(series["total_loss"], per_epoch), "--", color="grey", linewidth=0.8, label="loss")
    loss.set(xlabel="epoch", ylabel="training loss (dashed)", title=title)
    error.set(ylabel="test error, % (solid)")
    error.grid(alpha=0.3)
    error.legend()
    figure.savefig(path, dpi=150)


def _over_epochs(points: list[tuple[int, float]], per_epoch: float) -> tuple[list[float], list[float]]:
    return [(iteration + 1) / per_epoch for iteration, _ in points], [value for _, value in points]
