"""The training curve: training loss and test error over epochs (Wide ResNet, Fig. 2)."""

from __future__ import annotations

from pathlib import Path

from residet.metrics import read_metrics

import matplotlib.figure


def draw_curve(metrics: str | Path, path: str | Path, title: str, per_epoch: float) -> None:
    """Draws the training loss (dashed, left axis) and the test error (solid, right axis) over epochs.

    If the run averaged its weights, the test error of the averaged weights is drawn too.

    Args:
        metrics: the metrics.json of the run.
        path: the picture to write, a `.png`, `.pdf` or `.svg` file.
        title: text above the picture.
        per_epoch: number of iterations in a pass over the training set.
    """
    by_iteration = read_metrics(metrics)
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    loss = figure.subplots()
    error = loss.twinx()
    errors = {"val/top1_error": "test error", "val_ema/top1_error": "test error of the averaged weights"}
    for name, label in errors.items():
        if points := _over_epochs(by_iteration, name, per_epoch):
            error.plot(*points, label=label, marker=".")
    if points := _over_epochs(by_iteration, "total_loss", per_epoch):
        loss.plot(*points, "--", color="grey", linewidth=0.8, label="loss")
    loss.set(xlabel="epoch", ylabel="training loss (dashed)", title=title)
    error.set(ylabel="test error, % (solid)")
    error.grid(alpha=0.3)
    error.legend()
    figure.savefig(path, dpi=150)


def _over_epochs(
    by_iteration: dict[int, dict[str, float]], name: str, per_epoch: float
) -> tuple[list[float], list[float]] | None:
    """Epochs and values of a metric; None if the run has no such metric."""
    values = {(i + 1) / per_epoch: metrics[name] for i, metrics in by_iteration.items() if name in metrics}
    return (list(values), list(values.values())) if values else None
