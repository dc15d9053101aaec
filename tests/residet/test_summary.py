"""What a run says at its start, against the run's own files."""

import logging
import re
from types import SimpleNamespace

from residet import summary

import pytest
from run_tools import PROJECT, pretrain, train_net
from torch import nn

TINY = ["SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TRAIN", "(32,)"]
TINY += ["INPUT.MIN_SIZE_TEST", 32, "TEST.PICTURES", 0, "SOLVER.BASE_LR", 1e-4, "SEED", 7]


def facts(text):
    """{name: text} of the lines that say what was decided."""
    return dict(re.findall(r"^([a-z]+): +(.+)$", text, re.MULTILINE))


def test_a_detection_run_says_what_was_decided(shapes, tmp_path):
    config = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
    done = train_net(
        "--config-file", config, "--data", shapes, *TINY, "SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["classes"] == "5: cross, disk, square, star, triangle"
    assert said["network"] == "Faster R-CNN on resnet18, FPN, BN, no stages frozen"
    assert said["weights"] == "random" and said["seed"] == "7" and said["precision"] == "float32"
    assert said["schedule"].startswith("2 iterations of 2 images, 0.25 passes over 16 images; learning rate 0.0001")
    assert said["device"].startswith("cpu, ") and said["results"].startswith(str(tmp_path / "run"))
    total, trained = map(float, re.findall(r"[\d.]+(?= million)", said["parameters"]))
    assert 12 < total == trained < 16


@pytest.mark.parametrize("amp", [False, True])
def test_a_pretraining_says_what_was_decided(shapes, tmp_path, amp):
    size = ["CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16, "SOLVER.IMS_PER_BATCH", 8]
    mixed = ["SOLVER.AMP.ENABLED", amp, "SOLVER.AMP.DTYPE", "bfloat16", "DATALOADER.NUM_WORKERS", 0]
    args = ["--arch", "cifar_resnet20", "--data", shapes / "crops", *size, *mixed, "CLASSIFICATION.EPOCHS", 1]
    done = pretrain(*args, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["classes"].startswith("5: ") and said["network"] == "cifar_resnet20, BN"
    images = len([*(shapes / "crops" / "train").rglob("*.png")])
    assert said["schedule"].startswith(f"{images // 8} iterations of 8 images, {images // 8 * 8 / images:.3g} passes")
    assert said["precision"] == ("bfloat16 where torch's autocast allows" if amp else "float32")
    assert said["parameters"] == "0.27 million, 0.27 million of them trained"  # the paper's 0.27M
    evaluated = pretrain(
        *args, "--eval-only", "MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth", "OUTPUT_DIR", tmp_path / "eval"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    said = facts(evaluated.stdout)
    assert "schedule" not in said and said["weights"].endswith("model_final.pth, a classifier of 5 classes")


def test_the_length_is_measured_after_the_first_iterations(monkeypatch, caplog):
    """Five iterations of 100 s, which do not count, then iterations of 2 s."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(summary.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(logging.getLogger("residet"), "propagate", True)
    hook = summary.Forecast(skipped=5, measured=15)
    hook.trainer = SimpleNamespace(model=nn.Linear(3, 2), start_iter=100, max_iter=500, iter=99)
    with caplog.at_level(logging.INFO, logger="residet"):
        hook.before_train()
        for number in range(100, 130):
            hook.trainer.iter = number
            clock.now += 100 if number < 105 else 2
            hook.after_step()
    assert caplog.messages == [
        "parameters: 0.00 million, 0.00 million of them trained",
        "length:     about 13 minutes more, 380 iterations of 2 s, without evaluations",
    ]
