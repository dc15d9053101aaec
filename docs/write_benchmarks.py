"""Writes the tables in docs/benchmarks.md of the figures that the scripts in benchmarks/ left in docs/data.

python docs/write_benchmarks.py
"""

import json
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

TARGET = Path(__file__).with_name("benchmarks.md")
BEGIN = "<!-- written by docs/write_benchmarks.py -->\n"
END = "<!-- end -->\n"
COSTS = TARGET.with_name("cost_against_work.svg")


def section(content: dict) -> str:
    """The Markdown of one script's figures: a table, and how the figures were taken."""
    about = content["environment"]
    lines = [f"### {content['question']}\n", f"`{content['command']}`\n"]
    lines += _costs(content["rows"]) if "exponents" in content["rows"][0] else _comparison(content["rows"])
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "torch", "torchvision", "numpy"))
    load = content["load_average"][0]
    lines.append(
        f"{content['date']}; {about['processor cores']} cores, GPU {about['GPU']}, {content['threads']} thread(s); "
        f"{versions}; load average {load}.\n"
    )
    return "\n".join(lines)


def _comparison(rows: list[dict]) -> list[str]:
    """The lines of a table of ours against a peer."""
    lines = ["| job | peer | ours, s | peer, s | times as fast | aim |", "|-----|------|--:|--:|--:|--:|"]
    for row in rows:
        ours, peer = (_spread(row[f"{way}_{row['clock']}_seconds"]) for way in ("ours", "peer"))
        cells = (row["job"], row["peer"], ours, peer, f"**{_spread(row['ratio'])}**", f"{row['least']}")
        lines.append("| " + " | ".join(cells) + " |")
    checks = "; ".join(dict.fromkeys(row["check"] for row in rows))
    return [*lines, f"\nThe same, as checked: {checks}."]


def _costs(rows: list[dict]) -> list[str]:
    """The lines of a table of time and memory against the amount of work, and the picture of it."""
    lines = ["| job | amounts | s | exponents | memory, MB |", "|-----|--:|--:|--:|--:|"]
    for row in rows:
        columns = (row["amounts"], row["seconds"], row["exponents"], row["megabytes"])
        forms = ("{}", "{:.3g}", "{:.2f}", "{:.0f}")
        cells = [", ".join(map(form.format, values)) for values, form in zip(columns, forms, strict=True)]
        if row["megabytes"][-1] < 1:
            cells[-1] = "-"
        lines.append(f"| {row['job']} | " + " | ".join(cells) + " |")
    meaning = "An exponent says how the time grows from one amount to the next; 1 is as the work does."
    return [*lines, f"\n{meaning}\n\n![seconds against the amount of work]({COSTS.name})\n"]


def draw_costs(rows: list[dict], path: Path) -> None:
    """Draws a plot of time against the amount of work for each job, beside a line of linear cost."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, row in zip(figure.subplots(2, 3).flat, rows, strict=True):
        amounts, seconds = row["amounts"], row["seconds"]
        work = [amount / amounts[-1] for amount in amounts]
        linear = [seconds[-1] * part ** row["power"] for part in work]
        axes.plot(amounts, linear, "--", color="0.6", label="linear")
        axes.plot(amounts, seconds, "o-", color="#0072B2", label="measured")
        axes.set(xscale="log", yscale="log", ylabel="s")
        axes.set_title("\n".join(textwrap.wrap(row["job"], 34)), fontsize=9)
        axes.set_xticks(amounts, map(str, amounts))
        axes.minorticks_off()
    axes.legend()
    with matplotlib.rc_context({"svg.hashsalt": "residet"}):
        figure.savefig(path, metadata={"Date": None})


def _spread(figures: dict[str, float]) -> str:
    median, least, most = (f"{figures[name]:.3g}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def text(before: str) -> str:
    """The content of docs/benchmarks.md, with new tables in the place of those in `before`."""
    head, _, rest = before.partition(BEGIN)
    files = sorted((TARGET.parent / "data").glob("bench_*.json"))
    sections = "\n".join(section(json.loads(file.read_text(encoding="utf-8"))) for file in files)
    return f"{head}{BEGIN}\n{sections}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    costs = json.loads((TARGET.parent / "data" / "bench_cost_against_work.json").read_text(encoding="utf-8"))
    draw_costs(costs["rows"], COSTS)
    TARGET.write_text(text(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
