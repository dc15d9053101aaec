"""What a run says at its start, against the run's own files."""

import re

import pytest
from run_tools import PROJECT, pretrain, train_net

TINY = ["SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TRAIN", "(32,)"]
TINY += ["INPUT.MIN_SIZE_TEST", 32, "TEST.PICTURES", 0, "SOLVER.BASE_LR", 1e-4, "SEED", 7]


def facts(text):
    """{name: text} of the lines that say what was decided."""
    return dict(re.findall(r"^([a-z]+): +(.+)$", text, re.MULTILINE))


def test_a_detection_run_says_what_was_decided(shapes, tmp_path):
    config = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
    done = train_net(
        "--config-file", config, "--data", shapes, *TINY, "SOLVER.MAX_ITER", 22, "OUTPUT_DIR", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["classes"] == "5: cross, disk, square, star, triangle"
    assert said["network"] == "Faster R-CNN on resnet18, FPN, BN, no stages frozen"
    assert said["weights"] == "random" and said["seed"] == "7" and said["precision"] == "float32"
    assert said["schedule"].startswith("22 iterations of 2 images, 2.75 passes over 16 images; learning rate 0.0001")
    assert said["device"].startswith("cpu, ") and said["results"].startswith(str(tmp_path / "run"))
    total, trained = map(float, re.findall(r"[\d.]+(?= million)", said["parameters"]))
    assert 12 < total == trained < 16
    assert re.fullmatch(r"about less than a minute more, 2 iterations of [\d.]+ s, without evaluations", said["length"])


@pytest.mark.parametrize("amp", [False, True])
def test_a_pretraining_says_what_was_decided(shapes, tmp_path, amp):
    size = ["CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16, "SOLVER.IMS_PER_BATCH", 8]
    mixed = ["SOLVER.AMP.ENABLED", amp, "SOLVER.AMP.DTYPE", "bfloat16", "DATALOADER.NUM_WORKERS", 0]
    args = ["--arch", "cifar_resnet20", "--data", shapes / "crops", *size, *mixed, "CLASSIFICATION.EPOCHS", 1]
    done = pretrain(*args, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    said = facts(done.stdout)
    assert said["classes"].startswith("5: ") and said["network"] == "cifar_resnet20, BN"
    assert " 1 passes over " in said["schedule"]
    assert said["precision"] == ("bfloat16 where torch's autocast allows" if amp else "float32")
    assert said["parameters"] == "0.27 million, 0.27 million of them trained"  # the paper's 0.27M
    evaluated = pretrain(
        *args, "--eval-only", "MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth", "OUTPUT_DIR", tmp_path / "eval"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    said = facts(evaluated.stdout)
    assert "schedule" not in said and said["weights"].endswith("model_final.pth, a classifier of 5 classes")
