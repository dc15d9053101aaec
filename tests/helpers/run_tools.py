"""Runs the tools as a user does: a process of their own, with exit code and both streams."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"  # real data sets; a checkout may lack them


def run_tool(name, *args, launcher=(sys.executable,)):
    command = [*launcher, str(PROJECT / "tools" / name), *map(str, args)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)


def pretrain(*args, **options):
    return run_tool("pretrain.py", *args, **options)


def train_net(*args, **options):
    return run_tool("train_net.py", *args, **options)


def assert_clear_error(done, *words):
    """Exit code 2 and one message that has the words; no traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0], errors[0]
