"""Recipes: the learning rate at every boundary, in the papers' own numbers."""

from types import SimpleNamespace

from classification.config import default_config
from classification.schedule import PLATEAU, PlateauSteps, WarmUpUntilError, resolve_schedule
from classification.trainer import ClassificationTrainer
from residet.config import resolve_engine

import pytest
import torch
from classification_recipes import CIFAR, IMAGENET, RECIPES, SVHN, load
from detectron2.utils.events import EventStorage
from torch import nn


def rates(cfg, iterations):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = ClassificationTrainer.build_optimizer(cfg, model)
    scheduler = ClassificationTrainer.build_lr_scheduler(cfg, optimizer)
    found = []
    for iteration in iterations:
        scheduler.last_epoch = iteration
        found.append(scheduler.get_lr()[0])
    return found


BOUNDARIES = {
    # ResNet, section 4.2
    "cifar_resnet.yaml": (
        CIFAR,
        64_000,
        {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001},
    ),
    "cifar_resnet110.yaml": (CIFAR, 64_000, {0: 0.1, 31_999: 0.1, 32_000: 0.01, 48_000: 0.001}),
    # Identity Mappings
    "cifar_preact_resnet.yaml": (
        CIFAR,
        64_000,
        {0: 0.01, 399: 0.01, 400: 0.1, 32_000: 0.01, 48_000: 0.001},
    ),
    # The same epochs with half the batch
    "cifar_preact_resnet_batch64.yaml": (CIFAR, 128_000, {0: 0.01, 399: 0.01, 400: 0.1, 64_000: 0.01, 96_000: 0.001}),
    # Wide ResNet: 390 batches of 128 an epoch
    "cifar_wrn.yaml": (
        CIFAR,
        78_000,
        {0: 0.1, 23_399: 0.1, 23_400: 0.02, 46_799: 0.02, 46_800: 0.004, 62_399: 0.004, 62_400: 0.0008, 77_999: 0.0008},
    ),
    "cifar_wrn_zca.yaml": (CIFAR, 78_000, {0: 0.1, 23_400: 0.02, 46_800: 0.004, 62_400: 0.0008}),
    # 4721 batches of 128 an epoch
    "svhn_wrn.yaml": (
        SVHN,
        755_360,
        {0: 0.01, 377_679: 0.01, 377_680: 0.001, 566_519: 0.001, 566_520: 0.0001, 755_359: 0.0001},
    ),
    # ResNeXt, appendix A
    "cifar_resnext.yaml": (CIFAR, 117_000, {0: 0.1, 58_499: 0.1, 58_500: 0.01, 87_749: 0.01, 87_750: 0.001}),
    # ResNeXt: 5004 batches of 256 an epoch
    "imagenet.yaml": (
        IMAGENET,
        500_400,
        {0: 0.1, 150_119: 0.1, 150_120: 0.01, 300_239: 0.01, 300_240: 0.001, 450_359: 0.001, 450_360: 0.0001},
    ),
    "imagenet_resnext.yaml": (IMAGENET, 500_400, {0: 0.1, 150_120: 0.01, 300_240: 0.001, 450_360: 0.0001}),
    "imagenet5k.yaml": (6_800_000, 500_400, {150_119: 0.1, 150_120: 0.01, 300_240: 0.001, 450_360: 0.0001}),
    "imagenet_wrn.yaml": (IMAGENET, 450_360, {0: 0.1, 150_119: 0.1, 150_120: 0.01, 300_240: 0.001, 450_359: 0.001}),
    "imagenet_preact_resnet200.yaml": (IMAGENET, 450_360, {0: 0.1, 150_120: 0.01, 300_240: 0.001}),
    # torchvision: 5 of 600 epochs of 1251 batches of 1024 up from a hundredth, then half a cosine
    "imagenet_modern.yaml": (IMAGENET, 750_600, {0: 0.005, 6_255: 0.4999, 375_300: 0.25, 750_599: 0.0}),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_learning_rate_at_every_boundary(name):
    images, length, expected = BOUNDARIES[name]
    cfg = load(name, images=images)
    assert length == cfg.SOLVER.MAX_ITER
    assert rates(cfg, expected) == pytest.approx(list(expected.values()), abs=1e-4 * cfg.SOLVER.BASE_LR)


def test_every_recipe_has_boundaries_or_a_plateau():
    leaves = {path.name for path in RECIPES.glob("*.yaml") if not path.name.startswith("Base")}
    assert leaves == {*BOUNDARIES, "imagenet_resnet.yaml", "imagenet_vgg.yaml", "cifar10.yaml"}


@pytest.mark.parametrize(
    ("name", "batch", "momentum", "nesterov", "decay"),
    [
        ("cifar_resnet.yaml", 128, 0.9, False, 1e-4),
        ("cifar_wrn.yaml", 128, 0.9, True, 5e-4),
        ("svhn_wrn.yaml", 128, 0.9, True, 5e-4),
        ("cifar_resnext.yaml", 128, 0.9, True, 5e-4),
        ("imagenet_resnet.yaml", 256, 0.9, False, 1e-4),
        ("imagenet.yaml", 256, 0.9, True, 1e-4),
        ("imagenet_resnext.yaml", 256, 0.9, True, 1e-4),
        # Wide ResNet: "In ImageNet experiments we used the fb.resnet.torch implementation", whose defaults these are.
        ("imagenet_wrn.yaml", 256, 0.9, True, 1e-4),
    ],
)
def test_optimizer_of_the_papers(name, batch, momentum, nesterov, decay):
    cfg = load(name)
    optimizer = ClassificationTrainer.build_optimizer(cfg, nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    assert batch == cfg.SOLVER.IMS_PER_BATCH
    for group in optimizer.param_groups:
        assert group["weight_decay"] == decay and group["momentum"] == momentum
        assert group["nesterov"] is nesterov and group["dampening"] == 0


@pytest.mark.parametrize(
    ("name", "interpolation", "precise"),
    [
        # ResNet, appendix A: "we compute the BN statistics (means and variances) for each layer on the ImageNet
        # training set. Then the BN layers are fixed during fine-tuning for object detection." ResNeXt (6.3) follows.
        ("imagenet_resnet.yaml", "bilinear", True),
        ("imagenet_vgg.yaml", "bilinear", False),  # no BN
        # fb.resnet.torch's and ResNeXt's datasets/transforms.lua: interpolation 'bicubic'
        ("imagenet_resnext.yaml", "bicubic_aliased", True),
        ("imagenet_wrn.yaml", "bicubic_aliased", True),
        ("imagenet_preact_resnet200.yaml", "bicubic_aliased", True),
        ("imagenet5k.yaml", "bicubic_aliased", False),  # no detector of the paper starts from ImageNet-5K
        ("imagenet.yaml", "bilinear", False),
    ],
)
def test_what_the_networks_of_detectors_get(name, interpolation, precise):
    cfg = load(name, images=IMAGENET)
    assert interpolation == cfg.CLASSIFICATION.INTERPOLATION and precise == cfg.TEST.PRECISE_BN.ENABLED
    assert cfg.TEST.PRECISE_BN.NUM_ITER == IMAGENET // cfg.SOLVER.IMS_PER_BATCH or name == "imagenet5k.yaml"


def test_the_modern_recipe_decays_weights_alone():
    cfg = load("imagenet_modern.yaml", images=IMAGENET)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = ClassificationTrainer.build_optimizer(cfg, model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = [2e-5, 0, 0, 0, 2e-5, 0]  # weights and biases of convolution, norm and linear layer
    assert [decay[id(p)] for p in model.parameters()] == expected
    c = cfg.CLASSIFICATION
    assert (c.LABEL_SMOOTHING, c.MIXUP, c.CUTMIX, c.TRIVIAL_AUGMENT, c.SIZE, c.TEST.SIZE) == (
        0.1,
        0.2,
        1.0,
        True,
        176,
        224,
    )


def test_linear_scaling_is_explicit_and_printed():
    assert load("imagenet.yaml", "SOLVER.IMS_PER_BATCH", "512").SOLVER.BASE_LR == 0.1
    cfg = default_config()
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.SCALE_LR_FROM_BATCH = 512, 256
    assert resolve_engine(cfg) == ["learning rate 0.1 scaled to 0.2: a batch of 512, not 256"]
    assert pytest.approx(0.2) == cfg.SOLVER.BASE_LR
    assert resolve_engine(cfg) == []  # once, though a run's own config is read again on resume
    assert pytest.approx(0.2) == cfg.SOLVER.BASE_LR


def test_a_schedule_can_be_made_shorter():
    half = load("cifar_resnet.yaml", "CLASSIFICATION.SCHEDULE_SCALE", "0.5")
    assert half.SOLVER.MAX_ITER == 32_000 and half.SOLVER.STEPS == (16_000, 24_000)
    tenth = load("cifar_wrn.yaml", "CLASSIFICATION.SCHEDULE_SCALE", "0.1")
    assert tenth.SOLVER.MAX_ITER == 7_800 and tenth.SOLVER.STEPS == (2_340, 4_680, 6_240)
    for cfg in (half, tenth):  # what the run leaves as config.yaml means the same
        length = cfg.SOLVER.MAX_ITER
        resolve_schedule(cfg, CIFAR)
        assert length == cfg.SOLVER.MAX_ITER


class Trainer(SimpleNamespace):
    """What the hooks below see of one."""


def test_warm_up_lasts_until_the_training_error_is_low():
    cfg = load("cifar_resnet110.yaml")
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], cfg.SOLVER.BASE_LR)
    hook = WarmUpUntilError(optimizer, cfg.CLASSIFICATION.WARMUP_UNTIL_ERROR, cfg.SOLVER.WARMUP_FACTOR)
    hook.trainer = Trainer(start_iter=0, iter=0, step=SimpleNamespace(write_late=lambda: None))
    hook.before_train()
    seen = []
    with EventStorage() as storage:
        hook.trainer.storage = storage
        for iteration in range(60):
            hook.trainer.iter = storage.iter = iteration
            seen.append(optimizer.param_groups[0]["lr"])
            storage.put_scalar("train_error", 90.0 if iteration < 30 else 60.0)
            optimizer.param_groups[0]["lr"] = 0.1  # as the scheduler sets it
            hook.after_step()
    # The mean of the last 20 falls below 80 % once 7 of them are at 60 %: after iteration 36.
    assert seen[:37] == pytest.approx([0.01] * 37) and seen[37:] == pytest.approx([0.1] * 23)


def test_the_learning_rate_falls_when_the_error_does_not():
    cfg = load("imagenet_resnet.yaml", "CLASSIFICATION.PLATEAU_PATIENCE", "2", images=IMAGENET)
    assert cfg.SOLVER.MAX_ITER == 600_000 and cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], cfg.SOLVER.BASE_LR)
    hook = PlateauSteps(ClassificationTrainer.build_lr_scheduler(cfg, optimizer), "val/top1_error")
    seen = []
    with EventStorage() as storage:
        hook.trainer = Trainer(storage=storage)
        for error in (50, 40, None, 41, 40, 30, 30.5, 31):
            hook.trainer.fresh_results = {} if error is None else {"val/top1_error": float(error)}
            hook.after_step()
            seen.append(round(optimizer.param_groups[0]["lr"], 6))
    assert seen == [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]
