"""Writes the tables in docs/benchmarks.md of the figures that the scripts in benchmarks/ left in docs/data.

python docs/write_benchmarks.py
"""

import json
from pathlib import Path

TARGET = Path(__file__).with_name("benchmarks.md")
BEGIN = "<!-- written by docs/write_benchmarks.py -->\n"
END = "<!-- end -->\n"


def section(content: dict) -> str:
    """The Markdown of one script's figures: a table, and how the figures were taken."""
    about = content["environment"]
    lines = [f"### {content['question']}\n", f"`{content['command']}`\n"]
    lines += ["| job | peer | ours, s | peer, s | times as fast | aim |", "|-----|------|--:|--:|--:|--:|"]
    for row in content["rows"]:
        ours, peer = (_spread(row[f"{way}_{row['clock']}_seconds"]) for way in ("ours", "peer"))
        cells = (row["job"], row["peer"], ours, peer, f"**{_spread(row['ratio'])}**", f"{row['least']}")
        lines.append("| " + " | ".join(cells) + " |")
    checks = "; ".join(dict.fromkeys(row["check"] for row in content["rows"]))
    lines.append(f"\nThe same, as checked: {checks}.")
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "torch", "torchvision", "numpy"))
    load = content["load_average"][0]
    lines.append(
        f"{content['date']}; {about['processor cores']} cores, GPU {about['GPU']}, {content['threads']} thread(s); "
        f"{versions}; load average {load}.\n"
    )
    return "\n".join(lines)


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
    TARGET.write_text(text(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
