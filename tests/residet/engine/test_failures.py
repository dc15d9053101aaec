"""What goes wrong in a run: one message, and the checkpoints before it stay."""

import os

from backbones.weights.files import read_checkpoint

import pytest
import torch
from run_tools import assert_clear_error, pretrain

RUN = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
RUN += ["CLASSIFICATION.EPOCHS", 3, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
RUN += ["SOLVER.BASE_LR", 0.01]


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(shapes, tmp_path):
    opts = ["SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_ITERS", 4]
    opts += ["SOLVER.WARMUP_FACTOR", 1e-32, "OUTPUT_DIR", tmp_path / "run"]
    done = pretrain("--data", shapes / "crops", *RUN, *opts)
    assert_clear_error(done, "not finite at iteration", "learning rate 1e+30", "lower SOLVER.BASE_LR")
    last = tmp_path / "run" / (tmp_path / "run" / "last_checkpoint").read_text()
    assert all(torch.isfinite(p).all() for p in read_checkpoint(last)["model"].values())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_full_disk_leaves_the_checkpoint_before(shapes, tmp_path):
    run = tmp_path / "run"
    opts = ["--data", shapes / "crops", *RUN, "OUTPUT_DIR", run, "TEST.BEST_METRIC", ""]
    run.mkdir()
    (run / "model_final.pth.partial").symlink_to("/dev/full")
    done = pretrain(*opts)
    assert_clear_error(done, "model_final.pth: cannot be written (No space left on device)", "--resume")
    last = run / (run / "last_checkpoint").read_text()
    assert last.name.startswith("model_0") and read_checkpoint(last)["model"]
    again = pretrain("--resume", *opts)  # there is room again
    assert again.returncode == 0, again.stderr


def test_a_data_set_of_other_classes_is_refused_by_evaluation(shapes, tmp_path):
    opts = ["--data", shapes / "crops", *RUN, "CLASSIFICATION.EPOCHS", 1]
    assert pretrain(*opts, "OUTPUT_DIR", tmp_path / "run").returncode == 0
    other = tmp_path / "data" / "val"
    for name in ("cross", "zebra"):
        (other / name).mkdir(parents=True)
        source = next((shapes / "crops" / "val").rglob("*.png"))
        (other / name / "1.png").write_bytes(source.read_bytes())
    weights = ["MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth", "OUTPUT_DIR", tmp_path / "eval"]
    done = pretrain("--eval-only", "--data", tmp_path / "data", *RUN, *weights)
    assert_clear_error(done, "not these 1 of the data's 2: zebra")
