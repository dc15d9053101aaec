"""Charts as inline SVG, drawn by matplotlib: text stays text, and takes the colour of the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

from detection.evaluation.analysis import shorten

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

# Okabe and Ito's colours without yellow and black: apart for the colour-blind, on light and on dark pages.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vPX"
_INK = "#010203"  # becomes currentColor
_POINTS = 400  # of a curve
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "residet",
    "text.parse_math": False,  # a class may be called "$x$"
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "legend.frameon": False,
}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _svg(figure: Figure, label: str) -> Markup:
    """A figure as an <svg> element.

    Args:
        figure: the figure.
        label: what the chart shows, for screen readers.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="[a-zA-Z0-9]+(?:_|\.)[a-zA-Z0-9_.]*"', "", text)  # the same in every chart of the page
    text = re.sub(r'^<svg ([^>]*?)width="[^"]*" ([^>]*)>', r"<svg \1\2>", text, count=1)
    text = re.sub(r'^<svg ([^>]*?)height="[^"]*" ([^>]*)>', r"<svg \1\2>", text, count=1)
    # Safe: matplotlib escapes text, and the label is escaped here.
    return Markup(text.replace("<svg ", f'<svg class="chart" role="img" aria-label="{escape(label)}" ', 1))


def scatter(points: Mapping[str, tuple[float, float, float, float]], x_title: str, label: str) -> Markup:
    """AP over a cost, with intervals, and the frontier: the detectors that no other beats in both.

    Args:
        points: name of a detector -> cost, AP, bounds of AP's interval (NaN where not known).
        x_title: title of the cost.
        label: for screen readers.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, (name, (cost, ap, low, high)) in enumerate(points.items()):
            bounds = None if np.isnan(low) else [[max(ap - low, 0)], [max(high - ap, 0)]]
            marker = _MARKERS[i // len(COLOURS) % len(_MARKERS)]
            axes.errorbar(cost, ap, yerr=bounds, fmt=marker, color=_colour(i), capsize=3, label=shorten(name))
        edge = frontier([(p[0], p[1]) for p in points.values()])
        if len(edge) > 1:
            axes.plot(
                *zip(*edge, strict=True), color=_INK, linewidth=1, linestyle="--", alpha=0.6, zorder=0, label="frontier"
            )
        axes.locator_params(axis="x", nbins=6)
        axes.set(xlabel=x_title, ylabel="AP, %")
        _legend(figure, len(points) + 1)
        return _svg(figure, label)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, AP) that no other point beats: with less or equal cost, none has more AP. By rising cost."""
    best: list[tuple[float, float]] = []
    for cost, ap in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or ap > best[-1][1]:
            best.append((cost, ap))
    return best


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    titles: tuple[str, str],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    dots: bool = False,
) -> Markup:
    """Lines, such as the loss over iterations or precision over recall.

    Args:
        lines: name -> x and y.
        titles: of x and y.
        label: for screen readers.
        limits: least and greatest value of both axes; None fits them to the lines.
        dots: whether the values are few and get a dot each.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, (name, (x, y)) in enumerate(lines.items()):
            step = max(1, len(x) // _POINTS)
            style = ("-", "--", ":", "-.")[i // len(COLOURS) % 4]
            marker = "o" if dots else ""
            axes.plot(x[::step], y[::step], style, marker=marker, ms=3, lw=1.4, color=_colour(i), label=shorten(name))
        axes.set(xlabel=titles[0], ylabel=titles[1])
        if limits:
            axes.set(xlim=limits, ylim=limits)
        _legend(figure, len(lines))
        return _svg(figure, label)


def bars(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str, label: str, limit: float | None = None
) -> Markup:
    """Horizontal bars with intervals.

    Args:
        groups: name of a detector -> name of a bar -> value and the bounds of its interval (NaN where not known).
        title: of the values.
        label: for screen readers.
        limit: greatest value of the axis.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    thick = 0.8 / max(len(groups), 1)
    height = max(2.2, 0.5 + len(names) * max(0.32, 0.16 * len(groups)))
    with matplotlib.rc_context(_STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(5.2, min(height, 60)), layout="constrained")
        axes = figure.subplots()
        for i, (group, values) in enumerate(groups.items()):
            place = [names.index(name) + (i - (len(groups) - 1) / 2) * thick for name in values]
            shown = np.nan_to_num([value for value, _, _ in values.values()])
            axes.barh(place, shown, thick * 0.9, color=_colour(i), label=shorten(group))
            for at, (value, low, high) in zip(place, values.values(), strict=True):
                if not np.isnan(low):
                    spread = [[max(value - low, 0)], [max(high - value, 0)]]
                    axes.errorbar(value, at, xerr=spread, color=_INK, capsize=2, linewidth=1)
        axes.set_yticks(range(len(names)), [shorten(name) for name in names])
        axes.invert_yaxis()
        axes.set(xlabel=title, xlim=(0, limit))
        if len(groups) > 1:
            _legend(figure, len(groups))
        return _svg(figure, label)


def _legend(figure: Figure, count: int) -> None:
    """A legend below the chart; without one, a chart of more than 24 lines shows all its names in the table."""
    if 1 < count <= 24:
        figure.legend(loc="outside lower left", ncols=2 if count > 3 else 1, fontsize=8)
