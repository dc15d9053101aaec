"""What a run that is stopped tells the user: whether there is something to go on from, and by which command."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from run_tools import LIMIT, PROJECT, pretrain

SHORT = ["--arch", "cifar_resnet20", "CLASSIFICATION.SIZE", "16", "CLASSIFICATION.RESIZE", "16"]
SHORT += ["SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_WORKERS", "1", "CLASSIFICATION.EVAL_EPOCHS", "0"]


def arguments(shapes, output, *extra):
    return [*SHORT, "--data", str(shapes / "crops"), *extra, "OUTPUT_DIR", str(output)]


@pytest.fixture
def interrupted_twice(monkeypatch):
    """Ctrl-C twice, as soon as the third iteration begins."""
    whole, calls = torch.optim.Optimizer.zero_grad, []

    def zero_grad(optimizer, *args, **options):
        calls.append(optimizer)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return whole(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", zero_grad)


def test_a_second_ctrl_c_ends_the_run_at_once(shapes, tmp_path, interrupted_twice):
    done = pretrain(*arguments(shapes, tmp_path / "run", "SOLVER.CHECKPOINT_PERIOD", 1))
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert "interrupted; go on from model_0000001.pth with: " in done.stderr
    assert "--resume" in done.stderr and str(tmp_path / "run") in done.stderr
    # The signal was for the run that has ended, not for what the same process does next.
    weights = ["--weights", tmp_path / "run" / "model_0000001.pth"]
    done = pretrain(*arguments(shapes, tmp_path / "evaluation"), "--eval-only", *weights)
    assert done.returncode == 0, done.stderr


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_from(shapes, tmp_path, interrupted_twice):
    done = pretrain(*arguments(shapes, tmp_path / "run"))
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert "interrupted before the first checkpoint" in done.stderr and "--resume" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_prints_the_command_that_goes_on(shapes, tmp_path):
    output = tmp_path / "a run"
    args = arguments(shapes, output, "CLASSIFICATION.EPOCHS", "40", "SEED", "-1")
    command = [sys.executable, str(PROJECT / "tools" / "pretrain.py"), *args]
    options = {"text": True, "cwd": PROJECT, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options
    ) as process:
        log, end = output / "log.txt", time.monotonic() + LIMIT
        while not (log.is_file() and "Starting training" in log.read_text()):
            assert process.poll() is None and time.monotonic() < end, process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    (line,) = (line for line in stdout.splitlines() if "stopped by SIGINT" in line)
    again = line.partition("go on with: ")[2]
    assert shlex.split(again)[: len(command)] == command and "--resume SEED" in again
    done = subprocess.run(again, shell=True, capture_output=True, timeout=LIMIT, check=False, **options)
    assert done.returncode == 0 and "resumed at iteration" in done.stdout, done.stderr


SAVES_ON_SIGTERM = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
time.sleep(600)
"""


SWEEP = """
import sys
from residet.sweep import call
try:
    call([sys.executable, "-c", sys.argv[1]], deadline=None)
except KeyboardInterrupt as e:
    print(e)
"""


def test_ctrl_c_lets_the_run_of_a_sweep_save(tmp_path):
    command = [sys.executable, "-c", SWEEP, SAVES_ON_SIGTERM]
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as sweep:
        while not (tmp_path / "ready").exists():
            assert sweep.poll() is None
            time.sleep(0.02)
        sweep.send_signal(signal.SIGINT)
        assert "the same command goes on" in sweep.communicate(timeout=LIMIT)[0] and sweep.returncode == 0
    assert (tmp_path / "saved").exists()
