"""Results as a table and as JSON."""

from __future__ import annotations

from tabulate import tabulate


def summary(results: dict, classes: tuple[str, ...]) -> dict[str, float]:
    """AP, AP50, AP75, VOC's AP50, and AP per class, all in %, of what the evaluators returned; recall of proposals."""
    columns, per_class = {}, {}
    if "box_proposals" in results:
        columns = {k: results["box_proposals"][k] for k in ("AR@100", "AR@1000")}
    if "bbox" in results:
        box = results["bbox"]
        columns = {k: box[k] for k in ("AP", "AP50", "AP75")}
        per_class = {f"AP {c}": box[f"AP-{c}"] for c in classes}
    if "voc" in results:
        columns["VOC AP50"] = results["voc"]["AP50"]
        if "bbox" not in results:
            per_class = {f"VOC AP50 {c}": results["voc"][f"AP50-{c}"] for c in classes}
    return columns | per_class


def remarks(results: dict) -> list[str]:
    """Lines on what the table leaves out."""
    lines = []
    if "errors" in results:
        worst = sorted(results["errors"].items(), key=lambda item: -item[1])
        lines.append("AP50 lost to: " + ", ".join(f"{kind} {cost:.1f}" for kind, cost in worst))
    if "validation" in results:
        lines.append("losses: " + ", ".join(f"{k} {v:.3f}" for k, v in results["validation"].items()))
    return lines


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: a line per row name, a column per figure."""
    columns = list(dict.fromkeys(k for row in rows.values() for k in row))
    body = [[name, *(row.get(c) for c in columns)] for name, row in rows.items()]
    return tabulate(body, ["", *columns], tablefmt="github", floatfmt=".1f", missingval="-")
