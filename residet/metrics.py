"""Reads metrics.json, where a run has left its metrics: a line with a JSON object for each iteration logged."""

from __future__ import annotations

import json
from pathlib import Path


def read_metrics(path: str | Path) -> dict[int, dict[str, float]]:
    """Iteration -> the metrics of that iteration by name, by rising iteration.

    A resumed run may have repeated an iteration: the later value of a metric counts. A line that a killed run has left
    unfinished is passed over.

    Args:
        path: the file; {} if the file is missing, as after an evaluation alone.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    metrics: dict[int, dict[str, float]] = {}
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and isinstance(content.get("iteration"), int):
            metrics.setdefault(content["iteration"], {}).update(content)
    return dict(sorted(metrics.items()))
