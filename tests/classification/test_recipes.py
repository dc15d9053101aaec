"""Recipes: the learning rate at every boundary, in the papers' own numbers; and the figures that they reproduce."""

from types import SimpleNamespace

from backbones.catalogue import get_spec
from classification.config import default_config
from classification.papers.published import compare, tables
from classification.schedule import PLATEAU, PlateauSteps, WarmUpUntilError, resolve_schedule
from classification.schema.keys import check_keys
from classification.trainer import ClassificationTrainer
from residet.config import merge_config, resolve_engine

import pytest
import torch
import yaml
from detectron2.utils.events import EventStorage
from run_tools import DATA, PROJECT
from torch import nn

RECIPES = PROJECT / "configs" / "classification"
IMAGENET, CIFAR, SVHN = 1_281_167, 50_000, 604_388


def load(name, *opts, images=CIFAR):
    cfg = default_config()
    merge_config(cfg, str(RECIPES / name), [*opts, "MODEL.DEVICE", "cpu"])
    check_keys(cfg)
    resolve_schedule(cfg, images)
    return cfg


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


# The figures


def test_every_network_and_recipe_of_the_tables_exists():
    for table in tables().values():
        for arch in table.error:
            assert get_spec(arch).name == arch
            assert (RECIPES / table.recipe(arch)).is_file(), (table.name, arch)
        assert table.data in ("imagenet", "imagenet5k", "cifar10", "cifar100", "svhn")
        assert table.normalise in ("", load(table.config, images=IMAGENET).CLASSIFICATION.NORMALISE)


def test_the_list_of_recipes_is_whole():
    listed = (RECIPES / "README.md").read_text()
    for table in tables().values():
        (line,) = [line for line in listed.splitlines() if line.startswith(f"| `{table.name}`")]
        recipes = {table.recipe(arch) for arch in table.error}
        assert f"| {table.source} | {table.data} |" in line and all(f"`{recipe}`" in line for recipe in recipes)


def test_every_classification_figure_of_the_papers_is_there():
    papers = yaml.safe_load((DATA / "papers.yaml").read_text())
    ours = {(t.data, arch): set() for t in tables().values() for arch in t.error}
    for table in tables().values():
        for arch, errors in table.error.items():
            ours[table.data, arch] |= set(errors)
    resnet, wrn, resnext = papers["resnet"], papers["wrn"], papers["resnext"]
    # ResNet's own bottlenecks have the stride in the first 1x1: Table 1's FLOPs are those of the `_caffe` networks.
    letters = {"_A": "_a", "_B": "", "_C": "_c"} | {f"resnet{n}": f"resnet{n}_caffe" for n in (50, 101, 152)}

    def check(data, arch, *errors):
        assert {e for e in errors if e is not None} <= ours[data, arch], (data, arch, errors)

    for rows in (resnet["imagenet_10crop_err"], resnet["imagenet_dense_multiscale_err"]):
        for arch, errors in rows.items():
            check("imagenet", next((arch.replace(k, v) for k, v in letters.items() if k in arch), arch), *errors)
    for arch, error in resnet["cifar10_err"].items():
        check("cifar10", f"cifar_{arch}", error)
    for row in wrn["block_types"]:
        kernels = row["block"][2:-1].replace(",", "")
        (arch,) = [a for a in tables()["wrn_blocks"].error if get_spec(a).block == row["block"]]
        assert kernels and tables()["wrn_blocks"].error[arch] == [row["err"]]
    for factor, error in wrn["deepening"].items():
        (arch,) = [a for a in tables()["wrn_deepening"].error if len(get_spec(a).kernels) == factor]
        assert tables()["wrn_deepening"].error[arch] == [error]
    for depth, k, _, c10, c100 in wrn["widening"]:
        assert tables()["wrn_widening_cifar10"].error[f"cifar_wrn{depth}_{k}"] == [c10]
        assert c100 is None or tables()["wrn_widening_cifar100"].error[f"cifar_wrn{depth}_{k}"] == [c100]
    for arch, (c10, c100) in wrn["meanstd"].items():
        check("cifar10", f"cifar_{arch}", c10)
        check("cifar100", f"cifar_{arch}", c100) if c100 else None
    for arch, rows in wrn["dropout"].items():
        for suffix, key in (("", "without"), ("_d0.3", "with")):
            check("cifar10", f"cifar_{arch}{suffix}", rows[key][0])
            check("cifar100", f"cifar_{arch}{suffix}", rows[key][1])
            svhn = f"cifar_{arch}{suffix.replace('.3', '.4')}"
            check("svhn", svhn, rows[key][2]) if rows[key][2] else None
    for arch, rows in wrn["imagenet_basic"].items():
        for width, (top1, top5, _) in rows.items():
            check("imagenet", f"{arch}_{width:g}", top1, top5)
    for arch, (top1, top5, *_) in wrn["imagenet_bottleneck"].items():
        check("imagenet", arch, top1, top5)
    for depth in (50, 101):
        for template, error in resnext[f"imagenet_{depth}"].items():
            name = f"resnet{depth}" if template == "1x64d" else f"resnext{depth}_{template}"
            check("imagenet", name, error)
    for table in ("imagenet_1x", "imagenet_2x", "imagenet_320", "imagenet_dense"):
        for arch, errors in resnext[table].items():
            check("imagenet", arch.replace("resnet200", "preact_resnet200"), *errors)
    for arch, (_, without) in resnext["without_residual"].items():
        check("imagenet", f"{arch}_plain", without)
    for arch, errors in resnext["imagenet_5k"].items():
        check("imagenet5k", arch, *errors)
    for arch, (_, c10, c100) in resnext["cifar"].items():
        check("cifar10", f"cifar_{arch}", c10)
        check("cifar100", f"cifar_{arch}", c100)
    check("cifar10", "cifar_wrn40_10_d0.3", wrn["best"]["cifar10_wrn40_10_dropout"])
    check("cifar100", "cifar_wrn40_10_d0.3", wrn["best"]["cifar100_wrn40_10_dropout"])
    for arch, error in wrn["resnet_cifar100"].items():
        check("cifar100", f"cifar_{arch}", error)
    check("cifar10", "cifar_preact_resnet1001", wrn["preact_resnet1001_batch64"])
    check("svhn", "cifar_wrn16_8", wrn["svhn_wrn16_8"])
    check("svhn", "cifar_wrn16_8_d0.4", wrn["best"]["svhn_wrn16_8_dropout"])


def test_repeats_are_the_papers():
    """Wide ResNet, Tables 2, 3, 5 and 6: "median over 5 runs", Table 9: "single run results".

    ResNeXt, Table 7: "average of 10 runs". ResNet, Table 6: "we run it 5 times and show 'best (mean±std)'".
    """
    of = {name: table.statistic_of(next(iter(table.error))) for name, table in tables().items()}
    medians = {"wrn_blocks", "wrn_deepening", "wrn_cifar10", "wrn_cifar100"}
    means = {"resnext_cifar10", "resnext_cifar100", "resnext_sweep_cifar10"}
    assert {name for name, words in of.items() if words == "median of 5"} == medians
    assert {name for name, words in of.items() if words == "mean of 10"} == means
    assert tables()["wrn_cifar10"].statistic_of("cifar_wrn40_10_d0.3") == "single run"
    resnet = tables()["resnet_cifar10"]
    assert (
        resnet.statistic_of("cifar_resnet110") == "best of 5" and resnet.statistic_of("cifar_resnet20") == "single run"
    )
    assert resnet.spread == {"cifar_resnet110": [6.61, 0.16]}


def test_figures_that_are_curves_have_their_networks():
    """ResNet, Fig. 6: plain networks of 20 to 56 layers; "plain-110 is higher than 60% and not displayed".

    ResNeXt, section 6.2 and Fig. 7: "(i) increase cardinality and fix all widths, or (ii) increase width of the
    bottleneck and fix cardinality = 1".
    """
    assert set(tables()["resnet_plain_cifar10"].error) == {f"cifar_plain{depth}" for depth in (20, 32, 44, 56, 110)}
    settings = [f"{c}x64d" for c in (1, 2, 4, 8, 16)] + [f"1x{width}d" for width in (128, 192, 256)]
    assert set(tables()["resnext_sweep_cifar10"].error) == {f"cifar_resnext29_{setting}" for setting in settings}


def test_ours_is_set_beside_the_papers_in_the_same_test():
    cfg = load("imagenet_resnet.yaml", images=IMAGENET)
    assert cfg.CLASSIFICATION.ARCH == "resnet50_caffe"  # the network of ResNet's own figures
    cfg.CLASSIFICATION.CLASSES = tuple(str(i) for i in range(1000))
    cfg.CLASSIFICATION.ARCH = "resnet50_caffe"
    lines = list(compare(cfg, {"top1_error": 23.0, "top5_error": 6.5}))
    assert lines == [
        "top1 error 23.00 %, the paper's 22.85 % (ResNet, Tables 2 and 3): +0.15",
        "top5 error 6.50 %, the paper's 6.71 % (ResNet, Tables 2 and 3): -0.21",
    ]
    cfg.CLASSIFICATION.TEST.VIEWS = "dense"
    assert "20.74" in next(compare(cfg, {"top1_error": 21.0}))
    cfg.CLASSIFICATION.TEST.VIEWS, cfg.CLASSIFICATION.TEST.SIZE = "crop", 224
    assert not list(compare(cfg, {"top1_error": 24.0}))
    cfg.CLASSIFICATION.ARCH = "resnet50"  # fb.resnet.torch's, with the stride in the 3x3
    assert [line.split("(")[1][:9] for line in compare(cfg, {"top1_error": 24.0})] == ["Wide ResN", "ResNeXt, "]
    cfg.CLASSIFICATION.CLASSES = ("cat", "dog")
    assert list(compare(cfg, {"top1_error": 24.0})) == []  # no paper has these data
