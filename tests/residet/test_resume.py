"""A run that was stopped and gone on with ends with the very weights of one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_tools import PROJECT
from stopped_runs import assert_same_files, assert_same_results, stopped

# Everything that has a state: dropout, mixup, augmentation, EMA, a warm-up and a plateau, the best checkpoint, BN.
RUN = ["--arch", "cifar_wrn10_1_d0.3", "CLASSIFICATION.SIZE", "32", "CLASSIFICATION.RESIZE", "32"]
RUN += ["CLASSIFICATION.EPOCHS", "20", "SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_WORKERS", "1"]
RUN += ["CLASSIFICATION.COLOUR", "jitter", "CLASSIFICATION.MIXUP", "0.2", "CLASSIFICATION.CUTMIX", "1.0"]
RUN += ["SOLVER.LR_SCHEDULER_NAME", "ReduceLROnPlateau", "CLASSIFICATION.PLATEAU_PATIENCE", "1"]
RUN += ["SOLVER.BASE_LR", "0.05"]
RUN += ["CLASSIFICATION.EVAL_EPOCHS", "1", "SOLVER.EMA.DECAY", "0.9", "SOLVER.NESTEROV", "True"]
RUN += ["TEST.PRECISE_BN.ENABLED", "True", "CLASSIFICATION.NORMALISE", "pixel_mean", "SOLVER.CHECKPOINTS_KEPT", "2"]
STEPS = ["CLASSIFICATION.WARMUP_UNTIL_ERROR", "75.0", "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"]
STEPS += ["SOLVER.AMP.ENABLED", "True", "SOLVER.ACCUMULATE", "2"]  # float16, whose scaler has a state too


def stopped_run(shapes, output, signal_name, points, *extra, group=False):
    args = ["--data", str(shapes / "crops"), *RUN, *map(str, extra), "OUTPUT_DIR", str(output)]
    return stopped(args, output, signal_name, points, group=group)


@pytest.fixture(scope="module")
def uninterrupted(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    stopped_run(shapes, folder, "KILL", [])
    return folder


@pytest.mark.slow
def test_killed_at_twenty_points(shapes, uninterrupted, tmp_path):
    draw = random.Random(0)
    points = ["saving" if i % 3 == 2 else draw.uniform(0, 1.2) for i in range(20)]
    report = stopped_run(shapes, tmp_path / "run", "KILL", points)
    assert report["stopped"] >= 15 and set(report["codes"]) == {-signal.SIGKILL}
    assert_same_files(uninterrupted, tmp_path / "run")
    assert_same_results(uninterrupted, tmp_path / "run")


def test_sigterm_saves_and_exits(shapes, uninterrupted, tmp_path):
    """To the whole group of processes, as schedulers send it: the workers get it too."""
    report = stopped_run(shapes, tmp_path / "run", "TERM", [0.3, 0.1], group=True)
    assert report["codes"] == [0, 0]
    assert_same_files(uninterrupted, tmp_path / "run")
    assert_same_results(uninterrupted, tmp_path / "run")


@pytest.mark.slow
def test_warm_up_and_scaler_go_on_where_they_were(shapes, tmp_path):
    stopped_run(shapes, tmp_path / "a", "KILL", [], *STEPS)
    report = stopped_run(shapes, tmp_path / "b", "TERM", [0.1, 0.2], *STEPS)
    assert report["stopped"] == 2
    assert_same_files(tmp_path / "a", tmp_path / "b")
    assert_same_results(tmp_path / "a", tmp_path / "b")


def torchrun(shapes, output, restarts):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    tool = [f"--max-restarts={restarts}", str(PROJECT / "tools" / "pretrain.py"), "--data", str(shapes / "crops"), *RUN]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, *tool, "CLASSIFICATION.NORM", "naiveSyncBN", "OUTPUT_DIR", str(output)]
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
    assert torchrun(shapes, whole, 0).wait(timeout=300) == 0

    job = torchrun(shapes, killed, 1)
    deadline = time.time() + 200
    while not (killed / "last_checkpoint").is_file():
        assert job.poll() is None and time.time() < deadline
        time.sleep(0.01)
    os.kill(pid_of_rank_1(job.pid), signal.SIGKILL)
    assert job.wait(timeout=300) == 0, Path(f"{killed}.log").read_text()
    assert "resumed at iteration" in (killed / "log.txt").read_text()
    assert_same_files(whole, killed)
    assert_same_results(whole, killed)
