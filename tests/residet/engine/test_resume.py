"""A run that was stopped and gone on with ends with the very weights of one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from run_tools import LIMIT, PROJECT, pretrain
from stopped_runs import assert_same_files, assert_same_results, stopped

# Everything that has a state: dropout, mixup, augmentation, EMA, a warm-up and a plateau, the best checkpoint, BN.
RUN = ["--arch", "cifar_wrn10_1_d0.3", "CLASSIFICATION.SIZE", "16", "CLASSIFICATION.RESIZE", "16"]
RUN += ["CLASSIFICATION.EPOCHS", "20", "SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_WORKERS", "1"]
RUN += ["CLASSIFICATION.COLOUR", "jitter", "CLASSIFICATION.MIXUP", "0.2", "CLASSIFICATION.CUTMIX", "1.0"]
RUN += ["SOLVER.BASE_LR", "0.05"]
RUN += ["CLASSIFICATION.EVAL_EPOCHS", "1", "SOLVER.EMA.DECAY", "0.9", "SOLVER.NESTEROV", "True"]
RUN += ["TEST.PRECISE_BN.ENABLED", "True", "CLASSIFICATION.NORMALISE", "pixel_mean", "SOLVER.CHECKPOINTS_KEPT", "2"]
PLATEAU = ["SOLVER.LR_SCHEDULER_NAME", "ReduceLROnPlateau", "CLASSIFICATION.PLATEAU_PATIENCE", "1"]
STEPS = ["CLASSIFICATION.EPOCHS", "12"]
STEPS += ["CLASSIFICATION.WARMUP_UNTIL_ERROR", "75.0", "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"]
STEPS += ["SOLVER.AMP.ENABLED", "True", "SOLVER.ACCUMULATE", "2"]  # float16, whose scaler has a state too


def arguments(shapes, output, extra):
    return ["--data", str(shapes / "crops"), *RUN, *extra, "OUTPUT_DIR", str(output)]


def stopped_run(shapes, output, signal_name, points, *extra):
    return stopped(arguments(shapes, output, extra), output, signal_name, points)


def whole_run(shapes, output, *extra):
    torch.set_num_threads(1)  # as the processes that are stopped have
    done = pretrain(*arguments(shapes, output, extra))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def uninterrupted(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    whole_run(shapes, folder, *PLATEAU)
    return folder


@pytest.mark.slow
def test_killed_at_twenty_points(shapes, uninterrupted, tmp_path):
    draw = random.Random(0)
    kinds = [("step", 6), ("save", 2), ("test", 2), ("rename", 3)]
    points = [[event, draw.randint(1, most)] for event, most in kinds * 5]
    assert stopped_run(shapes, tmp_path / "run", "KILL", points, *PLATEAU) == [-signal.SIGKILL] * 20
    assert_same_files(uninterrupted, tmp_path / "run")
    assert_same_results(uninterrupted, tmp_path / "run")


@pytest.mark.parametrize(("name", "code"), [("TERM", 0), ("INT", 130)])
def test_a_signal_saves_and_exits(shapes, uninterrupted, tmp_path, name, code):
    """To the whole group of processes, as schedulers and terminals send it: the workers get it too. Once at a test."""
    assert stopped_run(shapes, tmp_path / "run", name, [["batch", 20], ["test", 3]], *PLATEAU) == [code, code]
    assert (tmp_path / "run.log").read_text().count(f"stopped by SIG{name}") == 2
    assert (tmp_path / "run.log").read_text().count("saved, its evaluation is still to come") == 1
    assert_same_files(uninterrupted, tmp_path / "run")
    assert_same_results(uninterrupted, tmp_path / "run")


@pytest.mark.slow
def test_warm_up_and_scaler_go_on_where_they_were(shapes, tmp_path):
    whole_run(shapes, tmp_path / "a", *STEPS)
    assert stopped_run(shapes, tmp_path / "b", "TERM", [["batch", 3], ["batch", 10]], *STEPS) == [0, 0]
    assert_same_files(tmp_path / "a", tmp_path / "b")
    assert_same_results(tmp_path / "a", tmp_path / "b")


def torchrun(shapes, output, restarts):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    tool = [
        f"--max-restarts={restarts}",
        str(PROJECT / "tools" / "pretrain.py"),
        "--data",
        str(shapes / "crops"),
        *RUN,
        *PLATEAU,
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    # No DataLoader workers: a fork beside gloo's threads can hang in the child, and these runs would fork 80 times.
    options = ["CLASSIFICATION.NORM", "naiveSyncBN", "DATALOADER.NUM_WORKERS", "0", "CLASSIFICATION.EPOCHS", "5"]
    options += ["OUTPUT_DIR", str(output)]
    command = [*launcher, *tool, *options]
    with Path(f"{output}.log").open("w") as log:
        return subprocess.Popen(command, cwd=PROJECT, env=env, stdout=log, stderr=log)


def pid_of_rank_1(parent):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent_of_it = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent_of_it == parent and b"\0RANK=1\0" in b"\0" + (folder / "environ").read_bytes():
                return int(folder.name)
        except OSError:  # it has ended meanwhile
            continue
    return None


@pytest.mark.slow
def test_a_killed_rank_restarts_the_job_which_finishes(shapes, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert torchrun(shapes, whole, 0).wait(timeout=LIMIT) == 0

    job = torchrun(shapes, killed, 1)
    deadline = time.time() + LIMIT
    while not (killed / "last_checkpoint").is_file():
        assert job.poll() is None and time.time() < deadline
        time.sleep(0.01)
    os.kill(pid_of_rank_1(job.pid), signal.SIGKILL)
    assert job.wait(timeout=LIMIT) == 0, Path(f"{killed}.log").read_text()
    assert "resumed at iteration" in (killed / "log.txt").read_text()
    assert_same_files(whole, killed)
    assert_same_results(whole, killed)
