"""SOLVER.BACKBONE_LR_FACTOR: pretrained layers learn at another rate than those that start from random weights."""

import json

from backbones.errors import InputError
from detection.prepare import prepare
from detection.trainer import DetectionTrainer

import pytest
import torch
from detection_configs import load_config

BIASES = ["SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY_BIAS", 0.0, "SOLVER.WEIGHT_DECAY_NORM", 0.003]


def rates_of(config, *opts):
    """Name of a parameter -> its learning rate and weight decay."""
    cfg = load_config(config, "MODEL.DEVICE", "meta", "SOLVER.BASE_LR", 0.01, *opts)
    with torch.device("meta"):
        model = DetectionTrainer.build_model(cfg)
    optimizer = DetectionTrainer.build_optimizer(cfg, model)
    names = {id(p): name for name, p in model.named_parameters()}
    of = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert of.keys() == trained and sum(len(g["params"]) for g in optimizer.param_groups) == len(trained)
    return of


@pytest.mark.parametrize(
    ("config", "pretrained"),
    [
        ("bccd/wrn34_2_fpn.yaml", ("backbone.bottom_up.",)),
        ("bccd/resnet50_c4.yaml", ("backbone.", "roi_heads.res5.")),
        ("faster_rcnn_resnet18_fpn.yaml", ("backbone.bottom_up.",)),  # the first stages are frozen
    ],
)
def test_the_groups_have_the_rates(config, pretrained):
    plain, scaled = rates_of(config, *BIASES), rates_of(config, *BIASES, "SOLVER.BACKBONE_LR_FACTOR", 0.1)
    assert plain.keys() == scaled.keys()
    for name, (rate, decay) in plain.items():
        assert rate == pytest.approx(0.02 if name.endswith("bias") else 0.01), name
        factor = 0.1 if name.startswith(pretrained) else 1
        assert scaled[name] == (pytest.approx(rate * factor), decay), name
    assert any(n.startswith(pretrained) for n in plain) and not all(n.startswith(pretrained) for n in plain)


def test_a_run_says_both_rates(shapes, tmp_path, caplog):
    opts = ["SOLVER.BACKBONE_LR_FACTOR", 0.1, "SOLVER.BASE_LR", 0.01, "SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2]
    opts += ["SOLVER.WARMUP_ITERS", 0, "INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48, "TEST.PICTURES", 0]
    opts += ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (3,), "DATALOADER.NUM_WORKERS", 0]
    cfg = load_config("demo/faster_rcnn_resnet18_fpn.yaml", *opts, "OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu")
    cfg.DATASETS.TRAIN = (str(shapes / "annotations" / "train.json"),)
    cfg.DATASETS.TEST = (str(shapes / "annotations" / "val.json"),)
    plan = prepare(cfg, eval_only=False)
    assert any("backbone at 0.1 times the learning rate" in line for line in plan.lines)
    assert DetectionTrainer(plan).train()
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert (last["lr"], last["lr_scaled"]) == pytest.approx((0.01, 0.001))


def test_a_factor_of_nothing_is_refused():
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", "SOLVER.BACKBONE_LR_FACTOR", 0.0)
    with pytest.raises(InputError, match=r"SOLVER\.BACKBONE_LR_FACTOR: 0\.0 "):
        prepare(cfg, eval_only=False)
