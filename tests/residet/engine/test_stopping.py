"""What a run that is stopped tells the user: whether there is something to go on from, and by which command."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from run_tools import LIMIT, PROJECT

SHORT = ["--arch", "cifar_resnet20", "CLASSIFICATION.SIZE", "16", "CLASSIFICATION.RESIZE", "16"]
SHORT += ["SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_WORKERS", "1", "CLASSIFICATION.EVAL_EPOCHS", "0"]


def arguments(shapes, output, *extra):
    return [*SHORT, "--data", str(shapes / "crops"), *extra, "OUTPUT_DIR", str(output)]


INTERRUPTED_TWICE = """
import json, os, signal, sys
sys.path.insert(0, "tools")
import pretrain, torch
whole, calls = torch.optim.Optimizer.zero_grad, []
def zero_grad(optimizer, *args, **options):
    calls.append(optimizer)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    return whole(optimizer, *args, **options)
torch.optim.Optimizer.zero_grad = zero_grad
print("exit codes", [pretrain.main(args) for args in json.loads(sys.argv[1])])
"""


def interrupted_twice(*commands):
    """Trains in a process of its own, which gets ctrl-C twice as soon as the third iteration begins.

    Returns:
        what the process prints; "exit codes …" has the exit code of each of the commands, one after the other.
    """
    command = [sys.executable, "-c", INTERRUPTED_TWICE, json.dumps(commands)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_second_ctrl_c_ends_the_run_at_once(shapes, tmp_path):
    """And the signals were for the run that has ended: the same process evaluates the run's checkpoint."""
    train = arguments(shapes, tmp_path / "run", "SOLVER.CHECKPOINT_PERIOD", "1")
    weights = ["--weights", str(tmp_path / "run" / "model_0000001.pth")]
    done = interrupted_twice(train, [*arguments(shapes, tmp_path / "evaluation"), "--eval-only", *weights])
    assert "exit codes [130, 0]" in done.stdout, done.stderr
    assert "interrupted; go on from model_0000001.pth with: " in done.stderr
    assert "--resume" in done.stderr and str(tmp_path / "run") in done.stderr


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_from(shapes, tmp_path):
    done = interrupted_twice(arguments(shapes, tmp_path / "run"))
    assert "exit codes [130]" in done.stdout, done.stderr
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
        metrics, end = output / "metrics.json", time.monotonic() + LIMIT
        while not (metrics.is_file() and metrics.stat().st_size):  # which the 20th iteration writes
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


STOPPED_WHILE_HOOKS_START = """
import signal, sys
sys.path.insert(0, "tools")
import pretrain
from detectron2.engine import hooks
def theirs(*_):
    sys.exit("the signal met the handler of before")
def before_train(hook):
    signal.raise_signal(signal.SIGTERM)
    whole(hook)
signal.signal(signal.SIGTERM, theirs)
whole, hooks.IterationTimer.before_train = hooks.IterationTimer.before_train, before_train
code = pretrain.main(sys.argv[1:])
assert signal.getsignal(signal.SIGTERM) is theirs
sys.exit(code)
"""


def test_sigterm_while_the_hooks_start_stops_after_the_first_iteration(shapes, tmp_path):
    command = [sys.executable, "-c", STOPPED_WHILE_HOOKS_START, *arguments(shapes, tmp_path / "run")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0 and "stopped by SIGTERM" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["model_0000000.pth"]


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
