"""Runs the tools, for their exit code and both streams.

`run_tool` runs them within the process of the test, which saves the seconds of an import; `start_tool` as a user does.
"""

import contextlib
import copy
import importlib
import io
import logging
import os
import random
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import events

PROJECT = Path(__file__).parents[2]
DATA = PROJECT / "tests" / "data"
LIMIT = 800  # seconds for one process that a test starts; the machine may be busy with other work
LOGGERS = [logging.getLogger(name) for name in ("", "residet", "detectron2", "fvcore")]
CATALOGUES = [(catalogue, dict(catalogue.data)) for catalogue in (DatasetCatalog, MetadataCatalog)]


def start_tool(name, *args, launcher=(sys.executable,), **variables):
    """Runs a tool in a process of its own, with environment variables."""
    command = [*launcher, str(PROJECT / "tools" / name), *map(str, args)]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)


def run_tool(name, *args):
    """Runs a tool within this process, which keeps nothing of it."""
    args, out, err = [*map(str, args)], io.StringIO(), io.StringIO()
    with kept_state(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            tool = importlib.import_module(name.removesuffix(".py"))
            code = tool.main(args)
        except SystemExit as e:  # of argparse
            code = e.code
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess([name, *args], code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def kept_state():
    """Within it, what is global is as a new process has it; afterwards, as it was before."""
    folder, environment, path = Path.cwd(), dict(os.environ), list(sys.path)
    numbers = random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.get_num_threads()
    logs = [(log.handlers, log.level, log.propagate) for log in LOGGERS]
    registered = [catalogue.data for catalogue, _ in CATALOGUES]
    storages = events._CURRENT_STORAGE_STACK[:]
    events._CURRENT_STORAGE_STACK.clear()
    for catalogue, content in CATALOGUES:
        catalogue.data = {key: copy.copy(value) for key, value in content.items()}
    for log in LOGGERS:
        log.handlers, log.propagate = [], True
        log.setLevel(logging.NOTSET if log.parent else logging.WARNING)
    os.chdir(PROJECT)
    sys.path.insert(0, str(PROJECT / "tools"))
    try:
        yield
    finally:
        os.chdir(folder)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        random.setstate(numbers[0]), np.random.set_state(numbers[1]), torch.set_rng_state(numbers[2])
        torch.set_num_threads(numbers[3])
        for handler in {handler for log in LOGGERS for handler in log.handlers}:
            handler.close()
        for log, (handlers, level, propagate) in zip(LOGGERS, logs, strict=True):
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)
        for (catalogue, _), content in zip(CATALOGUES, registered, strict=True):
            catalogue.data = content
        events._CURRENT_STORAGE_STACK[:] = storages


def pretrain(*args):
    return run_tool("pretrain.py", *args)


def train_net(*args):
    return run_tool("train_net.py", *args)


def assert_clear_error(done, *words):
    """Exit code 2 and one message that has the words; no traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0], errors[0]
