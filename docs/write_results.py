"""Writes the tables of results that come from data: docs/data/NAME.json, as a tool or a benchmark has left it.

A table stands in docs/results.md or README.md between the lines `<!-- NAME -->` and `<!-- end -->`. In docs/results.md,
the command, date and versions of the data stand below the table. docs/transfer.svg has the curves of the trainings of
the table `transfer`.

python docs/write_results.py
"""

import json
import re
import statistics
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from tabulate import tabulate

DOCS = Path(__file__).parent
RESULTS, README = DOCS / "results.md", DOCS.parent / "README.md"
DATA, CURVES = DOCS / "data", DOCS / "transfer.svg"
STARTS = [("pretrained", "from the checkpoint", "#0072B2"), ("random", "from random weights", "#D55E00")]


def number(value, form):
    """A value as text; "-" for null, which a tool writes for what is not known."""
    return "-" if value is None else form.format(value)


def spread(values, form="{:.1f}"):
    """The mean over seeds, and the standard deviation where there are several: "41.2 ± 0.8"."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    deviation = f" ± {form.format(statistics.stdev(known))}" if len(known) > 1 else ""
    return form.format(statistics.fmean(known)) + deviation


def transfer(content):
    """What each network gains by pretraining, as tools/compare.py writes it."""
    titles = ["network", "head", "seeds", "AP random", "AP pretrained", "gain", "95 % interval", "pretraining error %"]
    body = []
    for row in content["rows"]:
        interval = f"{number(row['gain_low'], '{:+.1f}')} to {number(row['gain_high'], '{:+.1f}')}"
        cells = [f"`{row['network']}`", row["head"], ", ".join(map(str, row["seeds"]))]
        cells += [spread(row["random"]["AP"]), spread(row["pretrained"]["AP"]), number(row["gain"], "{:+.1f}")]
        body.append([*cells, interval, number(row["pretraining_error"], "{:.1f}")])
    return titles, body


def draw_transfer(rows, path):
    """Draws AP over the iterations for both starts of each detector, a line for each seed."""
    figure = Figure(figsize=(3.6 * len(rows), 3.2), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(rows), squeeze=False, sharey=True).flat, rows, strict=True):
        for start, words, colour in STARTS:
            curves = [curve for curve in row[start]["AP_by_iteration"] if curve]
            for i, curve in enumerate(curves):
                label = None if i else words
                axes.plot(*zip(*curve, strict=True), "o-", color=colour, label=label, markersize=4)
        axes.set(title=f"{row['network']}, {row['head']}", xlabel="iterations", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("AP, %")
    figure.axes[0].legend(loc="lower right")
    with matplotlib.rc_context({"svg.hashsalt": "residet"}):
        figure.savefig(path, metadata={"Date": None})


def pretraining_start(content):
    """Where the loss goes at the start, as benchmarks/accuracy/pretraining_start.py writes it."""
    titles = ["network", "settings", "seed", "iterations", "loss at the start", "highest", "last", "rises"]
    body = []
    for row in content["rows"]:
        losses = [f"{row[key]:.2f}" for key in ("start", "highest", "last")]
        rises = "yes" if row["highest"] > row["start"] else "no"
        body.append([f"`{row['network']}`", row["variant"], row["seed"], row["iterations"], *losses, rises])
    return titles, body


def localisation(content):
    """Localisation errors, as benchmarks/accuracy/localisation.py writes them."""
    names = {"oracle_error": "class given", "top1_error": "class predicted (top-1)"}
    first = next(iter(content["rows"].values()))
    body = [["a box in the middle of the image", f"{first['centre_box_error']:.1f}", "-"]]
    titles = {"rpn": "per-class RPN", "rcnn": "per-class RPN and R-CNN"}
    body += [[titles[stage], *(f"{row[name]:.1f}" for name in names)] for stage, row in content["rows"].items()]
    return ["localisation error, %", *names.values()], body


def claims(content):
    """Errors of the short runs that show a paper's claim or do not, as tools/reproduce.py small writes them."""
    titles = ["claim", "source", "error, %", "should be lower", "than", "verdict"]
    body = []
    for row in content["rows"]:
        pairs = zip(row["networks"], row["errors"], strict=True)
        figures = [f"`{network}` {spread(errors, '{:.2f}')}" for network, errors in pairs]
        body.append([row["claim"], row["source"], row["error"], *figures, row["verdict"]])
    return titles, body


def speed(content):
    """Ratios of the times of training steps, as tools/reproduce.py speed writes them."""
    titles = ["table", "network", "ms a step", "ratio to the first of the table", "ratio in the paper"]
    body = []
    for row in content["rows"]:
        figures = [f"{1000 * row['seconds']:.0f}", f"{row['ratio']:.2f}", number(row["paper"], "{:.2f}")]
        body.append([f"`speed:{row['table']}`", f"`{row['network']}`", *figures])
    return titles, body


# The versions that stand below a table.
SHOWN = ("python", "torch", "torchvision", "detectron2", "processor cores")
# Name of the data -> its table: content -> (titles, rows of cells).
TABLES = {f.__name__: f for f in (transfer, pretraining_start, localisation, claims, speed)}


def block(name, with_origin):
    """The table of docs/data/NAME.json and, below it, where its figures are from."""
    content = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    titles, body = TABLES[name](content)
    table = tabulate(body, titles, "github", disable_numparse=True)
    if not with_origin:
        return table
    versions = ", ".join(f"{what} {content['versions'][what]}" for what in SHOWN)
    return f"{table}\n\n`{content['command']}`, {content['date']}; {versions}"


def text(page):
    """The content of README.md or docs/results.md with its tables written anew from the data."""
    blocks = re.compile(r"^<!-- (\w+) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
    content, with_origin = page.read_text(encoding="utf-8"), page == RESULTS
    return blocks.sub(lambda match: f"<!-- {match[1]} -->\n{block(match[1], with_origin)}\n<!-- end -->", content)


if __name__ == "__main__":
    for page in (RESULTS, README):
        page.write_text(text(page), encoding="utf-8")
    draw_transfer(json.loads((DATA / "transfer.json").read_text(encoding="utf-8"))["rows"], CURVES)
