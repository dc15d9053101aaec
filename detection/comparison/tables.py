"""Writes a comparison as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from backbones.whole_files import write_json, write_text
from detection.comparison.finished import NOT_KNOWN, is_known
from detection.comparison.rows import OTHERS, WITH_INTERVAL, Estimate, Pair, Row
from residet.fingerprint import origin

from tabulate import tabulate

_SHOWN_CLASSES = 10  # with more classes, the Markdown tables leave AP of the classes to CSV and JSON

# Columns beside the figures of COCO's evaluation: key -> (title, decimals, value of a row).
COLUMNS: dict[str, tuple[str, int, Callable[[Row], float]]] = {
    "params": ("params M", 1, lambda row: row.params),
    "flops": ("FLOPs G", 1, lambda row: row.flops),
    "pretraining_error": ("pretraining error %", 1, lambda row: row.mean("pretraining_error")),
    "training_seconds": ("training s/image", 3, lambda row: row.mean("training_seconds")),
    "inference_ms": ("inference ms", 1, lambda row: row.mean_speed("inference_ms")),
    "peak_memory_mb": ("peak memory MB", 0, lambda row: row.mean_speed("peak_memory_mb")),
}
_BEFORE = ("params", "flops", "pretraining_error")
_HEADS = ("name", "network", "head", "start")


def markdown(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """Three tables: figures (mean over seeds ± standard deviation), intervals, and differences with their intervals."""
    parts = [_figures(rows)]
    if any(row.resamples for row in rows):
        names = [*WITH_INTERVAL, *_class_figures(rows)]
        body = [[row.name, *(estimate_text(row.estimate(n)) for n in names)] for row in rows if row.resamples]
        title = "95 % intervals by bootstrap over the test images, and over seeds where there are several:"
        parts.append(f"{title}\n\n{_table(body, ['', *map(figure_title, names)])}")
    if pairs:
        body = []
        for pair in pairs:
            differences = [pair.difference(name) for name in WITH_INTERVAL]
            real = "yes" if differences[0].is_real else "no, may be chance"
            body.append(
                [f"{pair.first.name} - {pair.second.name}", *(estimate_text(d, sign=True) for d in differences), real]
            )
        title = "Differences, over the same images and seeds:"
        parts.append(f"{title}\n\n{_table(body, ['', *WITH_INTERVAL, 'AP differs'])}")
    parts += [f"{row.name}: no intervals: {row.remark}" for row in rows if row.remark]
    return "\n\n".join(parts)


def _figures(rows: Sequence[Row]) -> str:
    names = [*WITH_INTERVAL, *OTHERS, *_class_figures(rows)]
    after = [key for key in COLUMNS if key not in _BEFORE]
    titles = ["", "network", "head", "start", "seeds", *(COLUMNS[k][0] for k in _BEFORE), *map(figure_title, names)]
    body = []
    for row in rows:
        cells = [row.name, row.network, row.head, row.start, f"{len(row.runs)} of {row.wanted}"]
        cells += [column_text(row, key) for key in _BEFORE]
        cells += [_spread(row.of_seeds(name).values()) for name in names] + [column_text(row, key) for key in after]
        body.append(cells)
    return _table(body, [*titles, *(COLUMNS[k][0] for k in after)])


def _table(body: list[list[str]], titles: list[str]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in (titles, *body)]
    return tabulate(escaped[1:], escaped[0], tablefmt="github", disable_numparse=True)


def column_text(row: Row, key: str) -> str:
    """The value of a column of COLUMNS as text; "-" where not known."""
    _, decimals, value = COLUMNS[key]
    return f"{number:.{decimals}f}" if is_known(number := value(row)) else "-"


def estimate_text(estimate: Estimate, *, sign: bool = False) -> str:
    """An estimate as text: "31.2 [28.0, 34.1]"; "-" where not known. `sign` shows the sign of positive values too."""
    value, low, high = (round(v, 1) + 0.0 for v in (estimate.value, estimate.low, estimate.high))  # no "-0.0"
    form = "{:+.1f}" if sign else "{:.1f}"
    if not is_known(value):
        return "-"
    return form.format(value) + (f" [{form}, {form}]".format(low, high) if is_known(low) else "")


def figure_title(figure: str) -> str:
    """The title of a figure's column: "AP RBC" for "AP-RBC"."""
    return figure.replace("-", " ", 1)


def _class_figures(rows: Sequence[Row]) -> list[str]:
    classes = dict.fromkeys(name for row in rows for name in row.classes)
    return [f"AP-{name}" for name in classes] if len(classes) <= _SHOWN_CLASSES else []


def _spread(values) -> str:
    values = list(values)
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def as_json(rows: Sequence[Row], pairs: Sequence[Pair]) -> dict:
    """A comparison as plain values: rows and pairs with all estimates, the command, the date and the versions."""
    return {
        "rows": [_row(row) for row in rows],
        "pairs": [
            {"first": p.first.name, "second": p.second.name, "seeds": list(p.seeds)}
            | {name: _plain(p.difference(name)) | {"real": p.difference(name).is_real} for name in _estimated(p.first)}
            for p in pairs
        ],
        **origin(),
    }


def _row(row: Row) -> dict:
    content: dict = {"name": row.name, "network": row.network, "head": row.head, "start": row.start}
    content |= {"seeds": [run.cfg.SEED for run in row.runs], "wanted": row.wanted, "remark": row.remark}
    content |= {key: value(row) for key, (_, _, value) in COLUMNS.items()}
    for name in [*_estimated(row), *OTHERS]:
        content[name] = _plain(row.estimate(name)) | {"of_seeds": [*row.of_seeds(name).values()]}
    return content | {"runs": [str(run.folder) for run in row.runs]}


def _estimated(row: Row) -> list[str]:
    return [*WITH_INTERVAL, *(f"AP-{name}" for name in row.classes)]


def _plain(estimate: Estimate) -> dict:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each row, with a column for each figure and for the bounds of its interval."""
    names = list(dict.fromkeys(name for row in rows for name in [*_estimated(row), *OTHERS]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [title for name in names for title in (name, f"{name} low", f"{name} high")]
    writer.writerow([*_HEADS, "seeds", "wanted", *COLUMNS, *bounds])
    for row in rows:
        values = [value(row) for _, _, value in COLUMNS.values()]
        for name in names:
            estimate = row.estimate(name)
            values += [estimate.value, estimate.low, estimate.high]
        cells = [f"{v:.6g}" if is_known(v) else "" for v in values]
        writer.writerow([*(getattr(row, head) for head in _HEADS), len(row.runs), row.wanted, *cells])
    return out.getvalue()


def transfer(rows: Sequence[Row], pairs: Sequence[Pair]) -> dict | None:
    """What each network gains by pretraining: docs/data/transfer.json.

    Returns:
        {"rows": [{"network", "head", "gain", "gain_low", "gain_high", "seeds", "random": {"AP": [of each of seeds], …,
        "AP_by_iteration": [[(iterations done, AP), …] of each of seeds]}, "pretrained": {…}, "pretraining_error"}],
        "command", "date", "versions"}; None if no detector has both starts. A seed counts once both starts have
        finished with it.
    """
    gains = []
    for pair in pairs:
        by_start = {pair.first.start: pair.first, pair.second.start: pair.second}
        if len(by_start) != 2 or (pair.first.network, pair.first.head) != (pair.second.network, pair.second.head):
            continue
        gain = Pair(by_start["pretrained"], by_start["random"], pair.seeds).difference("AP")
        content = {"network": pair.first.network, "head": pair.first.head}
        content |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "seeds": list(pair.seeds)}
        for start, row in by_start.items():
            values = {name: row.of_seeds(name) for name in [*_estimated(row), *OTHERS]}
            content[start] = {name: [of.get(seed, NOT_KNOWN) for seed in pair.seeds] for name, of in values.items()}
            curves = {run.cfg.SEED: run.precisions for run in row.runs}
            content[start]["AP_by_iteration"] = [curves[seed] for seed in pair.seeds]
        content["pretraining_error"] = by_start["pretrained"].mean("pretraining_error")
        gains.append(content)
    return {"rows": gains, **origin()} if gains else None


def write(rows: Sequence[Row], pairs: Sequence[Pair], folder: Path) -> str:
    """Writes comparison.md, .csv and .json, and transfer.json if a detector has both starts.

    Args:
        rows: the rows of the comparison.
        pairs: the pairs of `rows`.
        folder: the folder to write to.

    Returns:
        the Markdown.
    """
    text = markdown(rows, pairs)
    write_text(text + "\n", folder / "comparison.md")
    write_text(as_csv(rows), folder / "comparison.csv")
    write_json(as_json(rows, pairs), folder / "comparison.json")
    if content := transfer(rows, pairs):
        write_json(content, folder / "transfer.json")
    return text
