"""Puts the results of the evaluators into rows, a table and remarks for the log."""

from __future__ import annotations

import re

from tabulate import tabulate


def reports_eleven_points(dataset_name: str) -> bool:
    """Whether papers report the 11-point AP of these data, as VOC 2007's evaluation computes it."""
    return re.match(r"voc_2007_|(.*[/\\])?VOC2007[/\\]?:", dataset_name) is not None


def summary(results: dict, classes: tuple[str, ...], *, eleven_points: bool = False) -> dict[str, float]:
    """Picks the figures for the table of results.

    Args:
        results: group of results, such as "bbox" or "voc" -> the figures that its evaluator returned, in %.
        classes: names of the classes.
        eleven_points: whether VOC's 11-point AP50 comes first (see `reports_eleven_points`).

    Returns:
        name of a column -> figure, of the groups that `results` has: recall of proposals; COCO's AP, AP50 and AP75;
        ImageNet DET's AP50; VOC's AP50; and the AP of each class, COCO's or otherwise VOC's.
    """
    columns, per_class = {}, {}
    first = {"VOC07 AP50": results["voc"]["AP50-07metric"]} if eleven_points and "voc" in results else {}
    if "box_proposals" in results:
        columns = {k: results["box_proposals"][k] for k in ("AR@100", "AR@1000")}
    if "bbox" in results:
        box = results["bbox"]
        columns = {k: box[k] for k in ("AP", "AP50", "AP75")}
        per_class = {f"AP {c}": box[f"AP-{c}"] for c in classes}
    if "det" in results:
        columns["DET AP50"] = results["det"]["AP50"]
    if "voc" in results:
        columns["VOC AP50"] = results["voc"]["AP50"]
        if "bbox" not in results:
            per_class = {f"VOC AP50 {c}": results["voc"][f"AP50-{c}"] for c in classes}
    return first | columns | per_class


def remarks(results: dict) -> list[str]:
    """Lines for the log with results that the table leaves out: the AP50 that each kind of error costs, and losses."""
    lines = []
    if "errors" in results:
        worst = sorted(results["errors"].items(), key=lambda item: -item[1])
        lines.append("AP50 lost to: " + ", ".join(f"{kind} {cost:.1f}" for kind, cost in worst))
    if "validation" in results:
        lines.append("losses: " + ", ".join(f"{k} {v:.3f}" for k, v in results["validation"].items()))
    return lines


def table(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table with a row for each name in `rows` and a column for each figure. A missing figure is "-"."""
    columns = list(dict.fromkeys(k for row in rows.values() for k in row))
    body = [[name, *(row.get(c) for c in columns)] for name, row in rows.items()]
    return tabulate(body, ["", *columns], tablefmt="github", floatfmt=".1f", missingval="-")
