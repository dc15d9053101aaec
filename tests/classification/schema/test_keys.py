"""Every key of the config does something in a run of pretrain.py, or is refused with the way to do it here."""

from backbones.errors import InputError
from classification.config import default_config
from classification.schedule import resolve_schedule
from classification.schema.keys import check_keys
from residet.config import merge_config

import pytest
from run_tools import PROJECT

RECIPES = sorted((PROJECT / "configs" / "classification").glob("*.yaml"))


def load(*opts, config=""):
    cfg = default_config()
    merge_config(cfg, str(config), list(opts))
    return cfg


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_recipe_sets_a_key_that_is_not_read(path):
    cfg = load(config=path)
    check_keys(cfg)
    resolve_schedule(cfg, 50_000)
    cfg.CLASSIFICATION.CLASSES = ("a", "b")
    check_keys(cfg)  # the config that the run leaves


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.BACKBONE.FREEZE_AT", 0], "MODEL.BACKBONE.FREEZE_AT: 0 .*CLASSIFICATION.ARCH"),
        (["MODEL.RESNETS.NORM", "GN"], "MODEL.RESNETS.NORM: 'GN' .*CLASSIFICATION.NORM"),
        (["INPUT.CROP.ENABLED", True], "INPUT.CROP.ENABLED: True .*CLASSIFICATION.SIZE"),
        (["DATASETS.TEST", ("train",)], r"DATASETS.TEST: \['train'\] .*--data"),
        (["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"], "all images are drawn equally often"),
        (["SOLVER.REFERENCE_WORLD_SIZE", 8], "SOLVER.REFERENCE_WORLD_SIZE: 8 .*SCALE_LR_FROM_BATCH"),
        (["CLASSIFICATION.SHORT_SIDE", (200, 300)], "SHORT_SIDE: .*set CLASSIFICATION.CROP short_side"),
        (["CLASSIFICATION.TEST.SCALES", (224,)], "TEST.SCALES: .*set CLASSIFICATION.TEST.VIEWS dense"),
        (["CLASSIFICATION.DOWNLOAD", True], "DOWNLOAD: True .*only cifar10, cifar100 and svhn"),
        (["CLASSIFICATION.PLATEAU_PATIENCE", 3], "PLATEAU_PATIENCE: 3 .*ReduceLROnPlateau"),
        (["CLASSIFICATION.EPOCHS", 0, "CLASSIFICATION.WARMUP_EPOCHS", 5], r"WARMUP_EPOCHS: 5\.0 .*SOLVER.WARMUP_ITERS"),
        (
            ["CLASSIFICATION.EPOCHS", 2, "CLASSIFICATION.WARMUP_EPOCHS", 2],
            "never reaches BASE_LR; set WARMUP_EPOCHS 0.5",
        ),
        (["CLASSIFICATION.EVAL_EPOCHS", 0, "TEST.PATIENCE", 3], "TEST.PATIENCE: goes by evaluations"),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "Step"],
            "is none of WarmupMultiStepLR, WarmupCosineLR, ReduceLROnPlateau",
        ),
    ],
)
def test_a_key_that_this_run_would_not_read_is_refused(opts, message):
    with pytest.raises(InputError, match=message):
        check_keys(load(*opts))


@pytest.mark.parametrize(
    ("opts", "key", "message"),
    [
        ([], "SOLVER.MAX_ITER", "EPOCHS 0 leaves iterations"),
        ([], "SOLVER.STEPS", "EPOCHS 0 leaves iterations"),
        (["CLASSIFICATION.EPOCHS", 0], "CLASSIFICATION.STEP_EPOCHS", "SOLVER.STEPS says where the rate falls"),
        (["CLASSIFICATION.WARMUP_EPOCHS", 5], "SOLVER.WARMUP_ITERS", "CLASSIFICATION.WARMUP_EPOCHS sets it"),
        ([], "TEST.EVAL_PERIOD", "EVAL_EPOCHS 0 leaves it"),
        ([], "SOLVER.CHECKPOINT_PERIOD", "EVAL_EPOCHS 0 leaves it"),
        ([], "CLASSIFICATION.CLASSES", "the classes come from the data"),
    ],
)
def test_a_key_that_the_run_fills_in_is_refused(opts, key, message):
    check_keys(load(*opts))
    with pytest.raises(InputError, match=f"{key}: would be overwritten; .*{message}"):
        check_keys(load(*opts), [key])


def test_a_warm_up_may_take_a_part_of_an_epoch():
    cfg = load("CLASSIFICATION.WARMUP_EPOCHS", 0.25, "SOLVER.IMS_PER_BATCH", 10)
    check_keys(cfg, ["CLASSIFICATION.WARMUP_EPOCHS"])
    resolve_schedule(cfg, images=400)
    assert cfg.SOLVER.WARMUP_ITERS == 10


def test_evaluations_can_be_counted_in_iterations():
    cfg = load("CLASSIFICATION.EVAL_EPOCHS", 0, "TEST.EVAL_PERIOD", 30, "SOLVER.CHECKPOINT_PERIOD", 40)
    check_keys(cfg, ["TEST.EVAL_PERIOD", "SOLVER.CHECKPOINT_PERIOD"])
    resolve_schedule(cfg, 1000)
    assert cfg.TEST.EVAL_PERIOD == 30 and cfg.SOLVER.CHECKPOINT_PERIOD == 40
