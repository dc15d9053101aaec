"""Two processes: one that fails alone ends both, with one message; a signal in an evaluation stops both, to resume."""

import importlib
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

from classification.trainer import ClassificationTrainer
from residet.engine.resume import Stoppable

import pytest
from forked_ranks import run_ranks
from run_tools import PROJECT
from stopped_runs import assert_same_files, assert_same_results

RUN = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
RUN += ["SOLVER.IMS_PER_BATCH", 8, "MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", 0.01, "CLASSIFICATION.EVAL_EPOCHS", 0]
RUN += ["CLASSIFICATION.EPOCHS", 0, "SOLVER.MAX_ITER", 6, "DATALOADER.NUM_WORKERS", 0]
RUN += ["CLASSIFICATION.NORM", "naiveSyncBN"]
SECONDS = 30  # on a busy machine; the processes wait up to 6 s for one another


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(PROJECT / "tools"))
    yield importlib.import_module("pretrain")
    sys.path.pop(0)


def ranks(tool, data, output, *options, prepare=None):
    """Exit codes of two processes, and what both printed to stderr as messages."""
    args = ["--data", data, *RUN, "OUTPUT_DIR", output, *options]
    codes, seconds = run_ranks(tool, args, output, prepare=prepare)
    printed = "".join(Path(f"{output}.{rank}").read_text() for rank in (0, 1))
    assert seconds < SECONDS and "Traceback" not in printed, printed
    return codes, [line for line in printed.splitlines() if line.startswith("error: ")]


def test_a_loss_that_is_not_finite(tool, shapes, tmp_path):
    codes, errors = ranks(tool, shapes / "crops", tmp_path / "run", "SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_ITERS", 0)
    assert codes == [2, 2] and len(errors) == 1 and "the loss is not finite" in errors[0]


def test_an_image_that_one_process_cannot_read(tool, shapes, tmp_path):
    data = shutil.copytree(shapes / "crops", tmp_path / "data")
    max((data / "val").rglob("*.png")).write_bytes(b"not an image")  # the last image is one of the second process
    codes, errors = ranks(tool, data, tmp_path / "run")
    assert codes == [2, 2] and len(errors) == 1 and ".png" in errors[0]


def test_a_disk_that_is_full(tool, shapes, tmp_path):
    def limit_first(rank):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if rank == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    codes, errors = ranks(tool, shapes / "crops", tmp_path / "run", prepare=limit_first)
    assert codes == [2, 2] and len(errors) == 1 and "model" in errors[0]


def test_a_process_that_is_killed(tool, shapes, tmp_path):
    def kill_second(rank):
        whole = ClassificationTrainer.run_step

        def run_step(trainer):
            if trainer.iter == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            whole(trainer)

        if rank == 1:
            ClassificationTrainer.run_step = run_step

    codes, errors = ranks(tool, shapes / "crops", tmp_path / "run", prepare=kill_second)
    assert codes == [2, -signal.SIGKILL] and len(errors) == 1 and "another process of the run was killed" in errors[0]


def test_a_config_that_all_refuse_is_one_message(tool, shapes, tmp_path):
    codes, errors = ranks(tool, shapes / "crops", tmp_path / "run", "SOLVER.MOMENTUM", -1)
    assert codes == [2, 2] and len(errors) == 1 and "SOLVER.MOMENTUM" in errors[0]


def test_a_signal_in_an_evaluation_stops_both_and_the_run_resumes(tool, shapes, tmp_path):
    options = ["TEST.EVAL_PERIOD", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 4]
    data = shapes / "crops"

    def end_second(rank):
        whole, seen = Stoppable.__iter__, []

        def batches(loader):
            for batch in whole(loader):
                seen.append(batch)
                if len(seen) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        if rank == 1:
            Stoppable.__iter__ = batches

    assert ranks(tool, data, tmp_path / "whole", *options) == ([0, 0], [])
    assert ranks(tool, data, tmp_path / "run", *options, prepare=end_second) == ([0, 0], [])
    assert "its evaluation is still to come" in (tmp_path / "run" / "log.txt").read_text()
    assert not (tmp_path / "run" / "results.json").exists()
    assert ranks(tool, data, tmp_path / "run", *options, "--resume") == ([0, 0], [])
    assert_same_files(tmp_path / "whole", tmp_path / "run", ("model_final.pth", "model_best.pth"))
    assert_same_results(tmp_path / "whole", tmp_path / "run")
