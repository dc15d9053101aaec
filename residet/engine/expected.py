"""TEST.EXPECTED_RESULTS: results that a run must reach, as detectron2's regression tests have them."""

from __future__ import annotations

from backbones.errors import InputError

from detectron2.config import CfgNode
from detectron2.evaluation.testing import flatten_results_dict


def check_expected_results(cfg: CfgNode, results: dict) -> None:
    """Raises InputError if a result is not as TEST.EXPECTED_RESULTS says.

    Args:
        cfg: TEST.EXPECTED_RESULTS is a list of [task, metric, value, tolerance], such as ["bbox", "AP", 38.5, 0.2].
        results: {task: {metric: value}}, or of several data sets {data set: {task: …}} with "data set/task" as task.
    """
    flat = flatten_results_dict(results)
    for task, metric, value, tolerance in cfg.TEST.EXPECTED_RESULTS:
        got = flat.get(f"{task}/{metric}", float("nan"))
        if not abs(got - value) <= tolerance:  # so that NaN fails too
            raise InputError(f"TEST.EXPECTED_RESULTS: {task}/{metric} is {got:.4g}, not {value} within {tolerance}")
