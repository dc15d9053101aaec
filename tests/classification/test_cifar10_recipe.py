"""configs/classification/cifar10.yaml trains six networks, deep and wide, without the loss rising above its start."""

import statistics

from classification.config import default_config
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.config import merge_config

import pytest

SIX = ("resnet50", "resnet101", "wrn34_2", "wrn50_2_bottleneck", "resnext50_32x4d", "resnext101_32x4d")
STEPS = 14


def losses(arch, shapes, folder, *opts):
    """The loss of each iteration of a short training with the recipe, whose warm-up is over after half of it."""
    cfg = default_config()
    short = ["CLASSIFICATION.SIZE", 32, "CLASSIFICATION.RESIZE", 32, "CLASSIFICATION.PAD", 4]
    short += ["CLASSIFICATION.EPOCHS", 0, "CLASSIFICATION.EVAL_EPOCHS", 0, "CLASSIFICATION.WARMUP_EPOCHS", 0]
    short += ["SOLVER.IMS_PER_BATCH", 16, "SOLVER.WARMUP_ITERS", STEPS // 2, "SOLVER.MAX_ITER", STEPS]
    short += ["DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)]
    merge_config(cfg, "classification/cifar10", [*short, *opts])
    cfg.CLASSIFICATION.ARCH, cfg.CLASSIFICATION.DATA = arch, str(shapes / "crops")
    trainer = ClassificationTrainer(prepare(cfg, eval_only=False))
    assert trainer.train()
    return [value for value, _ in trainer.storage.history("total_loss").values()]


def rise(of_run):
    """The highest mean of three losses in a row, over the mean of the first three."""
    means = [statistics.fmean(of_run[i : i + 3]) for i in range(len(of_run) - 2)]
    return max(means[3:]) / means[0]


@pytest.mark.slow
@pytest.mark.parametrize("arch", SIX)
def test_the_loss_never_rises_above_its_start(arch, shapes, tmp_path):
    assert rise(losses(arch, shapes, tmp_path)) <= 1


def test_without_its_precautions_the_loss_would_rise(shapes, tmp_path):
    plain = ["SOLVER.WARMUP_FACTOR", 1.0, "SOLVER.BASE_LR", 0.1, "CLASSIFICATION.ZERO_INIT_RESIDUAL", False]
    plain += ["SOLVER.SCALE_LR_FROM_BATCH", 0, "SOLVER.CLIP_GRADIENTS.ENABLED", False]
    assert rise(losses("resnet50", shapes, tmp_path / "plain", *plain)) > 1.5
    assert rise(losses("resnet50", shapes, tmp_path / "recipe")) <= 1
