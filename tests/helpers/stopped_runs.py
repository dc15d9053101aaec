"""Runs that are stopped and gone on with, by tests/helpers/killed_runs.py; and the comparison of what runs leave."""

import json
import subprocess
import sys
from pathlib import Path

from backbones.weights.files import read_checkpoint

import torch
from run_tools import LIMIT, PROJECT


def stopped(args, output, signal_name, points, *, tool="pretrain", finish=True):
    """Runs a tool that is stopped at each point and gone on with, where asked to its end.

    Returns:
        the exit codes of the stopped processes.
    """
    plan = {"tool": tool, "args": args, "output": str(output), "signal": signal_name, "points": points}
    plan["finish"] = finish
    file = output.with_suffix(".json")
    file.write_text(json.dumps(plan))
    command = [sys.executable, str(PROJECT / "tests" / "helpers" / "killed_runs.py"), str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["last"] == 0, Path(f"{output}.log").read_text()
    return report["codes"]


def assert_same(a, b, path=""):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        assert a == b or (a != a and b != b), path  # NaN is a result too


def assert_same_files(one, other, names=("model_final.pth", "model_best.pth", "model_ema.pth")):
    for name in names:
        assert_same(read_checkpoint(one / name), read_checkpoint(other / name), name)


def assert_same_results(one, other):
    assert json.loads((one / "results.json").read_text()) == json.loads((other / "results.json").read_text())
