"""Writes finished runs as one HTML page: self-contained, with intervals, charts, errors, pictures and configs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from backbones.whole_files import write_text
from detection.comparison.finished import is_known
from detection.comparison.rows import OTHERS, WITH_INTERVAL, Pair, Row, pairs_of, rows_of
from detection.comparison.tables import COLUMNS, column_text, estimate_text
from detection.data.statistics import SIZES
from detection.evaluation.coco import coco_stats
from detection.report import charts
from detection.report.worst import KINDS, worst_pictures

import jinja2
import numpy as np
from markupsafe import Markup

_PICTURES = 6_000_000  # characters of all pictures of a page
_NAMED_CURVES = 20  # with more classes, precision-recall has the mean over classes alone
_CELLS = 30  # a confusion matrix of more classes is a list of the most frequent confusions
_CONFUSIONS = 40  # entries of this list


def report_on_run(folder: Path) -> Path:
    """Writes the page of one finished run into the run's folder; see `write_report`."""
    return write_report(rows_of({folder.name: [folder]}), folder / "report.html")


def write_report(rows: Sequence[Row], path: str | Path, pairs: Sequence[Pair] | None = None) -> Path:
    """Writes the page.

    Args:
        rows: rows of a comparison, or one row with one run. Rows without a finished run are named only.
        path: the file to write.
        pairs: the pairs of `rows`; None finds them.

    Returns:
        `path`.
    """
    pairs = pairs_of(rows) if pairs is None else pairs
    done = [row for row in rows if row.runs]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("detection.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    files = {name: (Path(__file__).parent / "templates" / name).read_text() for name in ("style.css", "page.js")}
    page = environment.get_template("page.html").render(
        title=f"{len(rows)} detectors side by side" if len(rows) > 1 else rows[0].name,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(files["style.css"]),
        script=Markup(files["page.js"]),
        rows=rows,
        table=_table(done),
        differences=_differences(pairs),
        costs=_cost_charts(done),
        training=_training_charts(done),
        classes=_class_chart(done),
        tide=_tide(done),
        details=[_details(row) for row in done],
        kinds=KINDS,
        pictures=_pictures(done),
        data=_statistics(done),
        runs=[_run(row, run) for row in done for run in row.runs],
    )
    write_text(page, path)
    return Path(path)


def _table(rows: Sequence[Row]) -> dict:
    """The main table: titles, and cells by row."""
    body = []
    for row in rows:
        cells = [row.network, row.head, row.start, f"{len(row.runs)} of {row.wanted}"]
        cells += [estimate_text(row.estimate(name)) for name in (*WITH_INTERVAL, *OTHERS)]
        body.append((row.name, [*cells, *(column_text(row, key) for key in COLUMNS)]))
    titles = ["network", "head", "start", "seeds", *WITH_INTERVAL, *OTHERS, *(c[0] for c in COLUMNS.values())]
    return {"titles": titles, "rows": body}


def _differences(pairs: Sequence[Pair]) -> list[dict]:
    rows = []
    for pair in pairs:
        differences = [pair.difference(name) for name in WITH_INTERVAL]
        cells = [estimate_text(d, sign=True) for d in differences]
        names = {"first": pair.first.name, "second": pair.second.name}
        rows.append({**names, "cells": cells, "real": differences[0].is_real})
    return rows


def _cost_charts(rows: Sequence[Row]) -> list[Markup]:
    """AP over parameters, multiply-adds and measured times; none for a single detector."""
    drawn = []
    for key in ("params", "flops", "inference_ms", "training_seconds"):
        title, _, cost = COLUMNS[key]
        points = {}
        for row in rows:
            estimate = row.estimate("AP")
            if is_known(cost(row)) and is_known(estimate.value):
                points[row.name] = (cost(row), estimate.value, estimate.low, estimate.high)
        if len(points) > 1:
            drawn.append(charts.scatter(points, title, f"AP over {title}"))
    return drawn


def _training_charts(rows: Sequence[Row]) -> list[Markup]:
    """The loss, and AP of the evaluations on the way, over the iterations."""
    drawn = []
    for key, title, dots in (("total_loss", "loss", False), ("bbox/AP", "AP, %", True)):
        lines = {}
        for row in rows:
            for run in row.runs:
                points = [(c["iteration"], c[key]) for c in run.curve if isinstance(c.get(key), int | float)]
                if points:
                    name = row.name if len(row.runs) == 1 else f"{row.name}, seed {run.cfg.SEED}"
                    lines[name] = tuple(zip(*points, strict=True))
        if any(len(x) > 1 for x, _ in lines.values()):
            drawn.append(charts.curves(lines, ("iteration", title), f"{title} over the training", dots=dots))
    return drawn


def _class_chart(rows: Sequence[Row]) -> dict | None:
    """AP of each class: a chart and the same values as a table."""
    estimates = {row.name: {c: row.estimate(f"AP-{c}") for c in row.classes} for row in rows}
    values = {
        name: {c: (e.value, e.low, e.high) for c, e in of_row.items() if is_known(e.value)}
        for name, of_row in estimates.items()
    }
    values = {name: of_row for name, of_row in values.items() if of_row}
    if not values:
        return None
    names = dict.fromkeys(c for of_row in estimates.values() for c in of_row)
    body = [(c, [estimate_text(of_row[c]) if c in of_row else "-" for of_row in estimates.values()]) for c in names]
    return {
        "chart": charts.bars(values, "AP, %", "AP of each class with its 95 % interval"),
        "titles": list(estimates),
        "rows": body,
    }


def _tide(rows: Sequence[Row]) -> dict | None:
    """What each kind of error costs: a chart and the same values as a table. Of each row the first run."""
    costs = {row.name: row.runs[0].errors.get("dAP50") for row in rows}
    costs = {name: c for name, c in costs.items() if isinstance(c, dict)}
    if not costs:
        return None
    kinds = [*KINDS, "FalsePos", "FalseNeg"]
    bars = {n: {k: (float(c.get(k) or 0), np.nan, np.nan) for k in kinds} for n, c in costs.items()}
    body = [(name, [f"{float(c.get(k) or 0):.1f}" for k in kinds]) for name, c in costs.items()]
    return {
        "chart": charts.bars(bars, "AP50 lost, %", "AP50 that each kind of error costs"),
        "titles": kinds,
        "rows": body,
    }


def _details(row: Row) -> dict:
    """Precision-recall curves and confusion matrix of a row's first run."""
    return {"name": row.name, "curve": _precision_recall(row), "confusion": _confusion(row)}


def _precision_recall(row: Row) -> Markup | None:
    if row.data is None:
        return None
    detections = row.data.detections(row.runs[0])
    _, precision = coco_stats(row.data.objects.content, detections, row.runs[0].cfg.TEST.COCO_API)
    if precision is None:
        return None
    at_50 = precision[0]  # recalls, classes
    counted = [k for k in range(at_50.shape[1]) if (at_50[:, k] > -1).all()]
    if not counted:
        return None
    recalls = np.linspace(0, 1, len(at_50))
    lines = {"all classes, mean": (recalls, at_50[:, counted].mean(axis=1))}
    if len(counted) <= _NAMED_CURVES:
        lines |= {row.data.classes[k]: (recalls, at_50[:, k]) for k in counted}
    return charts.curves(
        lines, ("recall", "precision, IoU ≥ 0.5"), f"precision over recall of {row.name}", limits=(0, 1.02)
    )


def _confusion(row: Row) -> dict | None:
    """The confusion matrix as cells, or, of many classes, as a list of the most frequent confusions."""
    content = row.runs[0].errors.get("confusion")
    try:
        names = [str(name) for name in content["classes"]]
        matrix = np.array(content["matrix"], int).reshape(len(names), len(names))
    except (TypeError, KeyError, ValueError):
        return None
    if len(names) <= _CELLS:
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        cells = [(n, [*zip(m.tolist(), s.tolist(), strict=True)]) for n, m, s in zip(names, matrix, share, strict=True)]
        return {"names": names, "rows": cells}
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None)[:_CONFUSIONS]
    places = [np.unravel_index(place, wrong.shape) for place in order]
    return {"list": [(names[i], names[j], int(wrong[i, j])) for i, j in places if wrong[i, j]]}


def _pictures(rows: Sequence[Row]) -> list[dict]:
    """The worst images of each row's first run, until the page would get too large; each row has its share."""
    shown_pictures = []
    with_data = [row for row in rows if row.data is not None]
    for row in with_data:
        room = _PICTURES // len(with_data)
        data = row.data
        classes = {number: i for i, number in enumerate(data.objects.category_ids)}
        detections = [
            {**d, "image": d["image_id"] - 1, "class": classes[d["category_id"]]} for d in data.detections(row.runs[0])
        ]
        for picture in worst_pictures(data.records, detections, data.classes):
            url = picture.jpeg()
            room -= len(url)
            if room < 0:
                break
            size = {"width": picture.record["width"], "height": picture.record["height"]}
            shown_pictures.append({"row": row.name, "picture": picture, "url": url, **size})
    return shown_pictures


def _statistics(rows: Sequence[Row]) -> list[dict]:
    """The statistics of each test set."""
    sets = {row.data.digest: row.data for row in rows if row.data is not None}
    return [{"name": data.name, "sizes": SIZES, **data.statistics} for data in sets.values()]


def _run(row: Row, run) -> dict:
    """What a run was started with."""
    about = run.about or {}
    command = about.get("command")
    environment = about.get("environment")
    return {
        "row": row.name,
        "folder": str(run.folder),
        "seed": run.cfg.SEED,
        "started": str(about.get("started", "-")),
        "command": " ".join(map(str, command)) if isinstance(command, list) else "-",
        "environment": environment if isinstance(environment, dict) else {},
        "config": run.cfg.dump(),
    }
