"""configs/classification/cifar10.yaml trains six networks, deep and wide, without the loss rising above its start."""

import math
import statistics

from backbones.catalogue import get_spec
from classification.config import default_config
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.config import merge_config

import pytest
import torch
from narrow_networks import narrow

SIX = ("resnet50", "resnet101", "wrn34_2", "wrn50_2_bottleneck", "resnext50_32x4d", "resnext101_32x4d")
STEPS, CLASSES = 10, 5


def trained(arch, shapes, folder, *opts):
    """The trainer after a short training with the recipe, whose warm-up is over after half of it."""
    cfg = default_config()
    short = ["CLASSIFICATION.SIZE", 32, "CLASSIFICATION.RESIZE", 32, "CLASSIFICATION.PAD", 4]
    short += ["CLASSIFICATION.EPOCHS", 0, "CLASSIFICATION.EVAL_EPOCHS", 0, "CLASSIFICATION.WARMUP_EPOCHS", 0]
    short += ["SOLVER.IMS_PER_BATCH", 16, "SOLVER.WARMUP_ITERS", STEPS // 2, "SOLVER.MAX_ITER", STEPS]
    short += ["DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)]
    merge_config(cfg, "classification/cifar10", [*short, *opts])
    cfg.CLASSIFICATION.ARCH, cfg.CLASSIFICATION.DATA = arch, str(shapes / "crops")
    trainer = ClassificationTrainer(prepare(cfg, eval_only=False))
    assert trainer.train()
    return trainer


def losses(trainer):
    """The loss of each iteration."""
    return [value for value, _ in trainer.storage.history("total_loss").values()]


def rise(of_run):
    """The highest mean of five losses in a row over the first loss, or that of chance. Batches of 16 differ."""
    chance = math.log(CLASSES)
    return max(statistics.fmean(of_run[i : i + 5]) for i in range(1, len(of_run) - 4)) / max(of_run[0], chance)


@pytest.mark.slow
@pytest.mark.parametrize("arch", SIX)
def test_the_loss_never_rises_above_its_start(arch, shapes, tmp_path):
    trainer = trained(arch, shapes, tmp_path)
    assert rise(losses(trainer)) < 1.1
    block = trainer.model.network.layer4[1]
    assert getattr(block, f"bn{block.size}").weight.mean() > 0.15  # of a block that starts closed: 0.00


@pytest.mark.parametrize(("size", "learns"), [(32, False), (64, True)])
def test_at_32_px_most_of_stage_5_would_not_learn(size, learns):
    """The map of stage 5 is a single cell at 32 px: a 3x3 convolution there multiplies eight of its weights by zero."""
    network = narrow(get_spec("resnet50"))
    network(torch.rand(2, 3, size, size)).square().sum().backward()
    gradient = network.layer4[1].conv2.weight.grad.abs().sum((0, 1))
    assert gradient[1, 1] > 0 and bool((gradient.flatten()[[0, 1, 2, 3, 5, 6, 7, 8]] > 0).all()) == learns
    assert learns or gradient.count_nonzero() == 1


def test_without_its_precautions_the_loss_explodes(shapes, tmp_path):
    plain = ["SOLVER.WARMUP_FACTOR", 1.0, "SOLVER.BASE_LR", 0.1, "CLASSIFICATION.RESIDUAL_SCALE", 1.0]
    plain += ["SOLVER.SCALE_LR_FROM_BATCH", 0, "SOLVER.CLIP_GRADIENTS.ENABLED", False, "SOLVER.MAX_ITER", 2]
    first, second = losses(trained("resnet50", shapes, tmp_path, *plain))
    assert second > 5 * first
