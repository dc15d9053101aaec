"""Runs of the engine: options, averages, best and last checkpoints, early stopping, and what goes wrong."""

import json
import math

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from classification.config import default_config
from classification.data.loaders import build_train_loader
from classification.model import Classifier
from classification.prepare import prepare
from classification.schema.keys import check_keys
from classification.trainer import ClassificationTrainer, train
from residet.engine.checkpointer import RunCheckpointer
from residet.engine.hooks import BestCheckpoint, LogPrinter
from residet.metrics import read_metrics

import pytest
import torch
from detectron2.utils.events import CommonMetricPrinter
from run_tools import pretrain, start_tool
from torch import nn
from torchvision.transforms import v2

RUN = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
RUN += ["CLASSIFICATION.EPOCHS", 3, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
RUN += ["SOLVER.BASE_LR", 0.01]


@pytest.fixture
def make_plan(shapes, tmp_path):
    def make(*opts):
        cfg = default_config()
        cfg.merge_from_list([*RUN, "CLASSIFICATION.DATA", str(shapes / "crops"), "OUTPUT_DIR", str(tmp_path), *opts])
        return prepare(cfg, eval_only=False)

    return make


def trained(plan):
    trainer = ClassificationTrainer(plan)
    assert trainer.train()
    return trainer


@pytest.mark.parametrize(
    "opts",
    [
        ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16"],
        ["SOLVER.AMP.ENABLED", True, "CLASSIFICATION.CHANNELS_LAST", True],
        ["SOLVER.ACCUMULATE", 2, "CLASSIFICATION.NORM", "GN", "CLASSIFICATION.ARCH", "resnet18"],
        ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"],
        ["CLASSIFICATION.MIXUP", 0.2, "CLASSIFICATION.CUTMIX", 1.0, "CLASSIFICATION.LABEL_SMOOTHING", 0.1],
    ],
    ids=["bfloat16", "float16 channels_last", "accumulate GN", "clip", "mix"],
)
def test_options_train(make_plan, opts):
    trainer = trained(make_plan("CLASSIFICATION.EPOCHS", 1, *opts))
    assert trainer.evaluation.results["val"]["images"] > 0
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_network_does(shapes, tmp_path, compiler_environment):
    """The same losses and weights, saved by the same names."""
    data = ["--data", shapes / "crops", *RUN, "CLASSIFICATION.EPOCHS", 2, "SOLVER.EMA.DECAY", 0.9]
    data += ["SOLVER.IMS_PER_BATCH", 13]  # all test images: a smaller last batch would be compiled anew
    done = pretrain(*data, "OUTPUT_DIR", tmp_path / "eager")
    assert done.returncode == 0, done.stderr
    opts = ["CLASSIFICATION.COMPILE", True, "OUTPUT_DIR", tmp_path / "compiled"]
    done = start_tool("pretrain.py", *data, *opts, **compiler_environment)
    assert done.returncode == 0, done.stderr
    eager, compiled = (read_checkpoint(tmp_path / run / "model_final.pth")["model"] for run in ("eager", "compiled"))
    assert compiled.keys() == get_spec("cifar_wrn10_1").build(2).state_dict().keys()
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


def test_losses_of_mixed_and_smoothed_labels():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    batch = {"image": torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8), "label": torch.tensor([0, 1, 2, 0])}
    model = Classifier(network, [0.0] * 3, [255.0] * 3, label_smoothing=0.1, mix=v2.MixUp(alpha=1.0, num_classes=3))
    torch.manual_seed(3)
    loss = model(batch)["loss_cls"]
    torch.manual_seed(3)
    images, labels = v2.MixUp(alpha=1.0, num_classes=3)(batch["image"] / 255, batch["label"])
    smoothed = 0.9 * labels + 0.1 / 3
    expected = -(smoothed * network(images).log_softmax(1)).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_average_is_evaluated_and_saved(make_plan, tmp_path):
    plan = make_plan("SOLVER.EMA.DECAY", 0.5)
    trainer = ClassificationTrainer(plan)
    seen, run_step = [], trainer.run_step

    def remember():
        run_step()
        seen.append(trainer.checkpointer.model.network.fc.weight.detach().clone())

    evaluated, test = [], trainer.test
    plain = trainer.checkpointer.model
    trainer.test = lambda cfg, model: evaluated.append(model is plain) or test(cfg, model)
    trainer.run_step = remember
    trainer.train()
    expected = seen[0]  # the first update copies
    for weight in seen[1:]:
        expected = 0.5 * expected + 0.5 * weight
    saved = read_checkpoint(tmp_path / "model_ema.pth")
    assert torch.allclose(saved["model"]["fc.weight"], expected, atol=1e-6)
    assert saved["arch"] == "cifar_wrn10_1" and "trainer" not in saved
    assert trainer.evaluation.results["val_ema"].keys() == trainer.evaluation.results["val"].keys()
    assert list(trainer.evaluation.results) == ["val", "val_ema"]
    # The files that an evaluation leaves behind are of the model that came last.
    assert evaluated[-2:] == [False, True]


def test_the_best_state_is_kept_and_the_last_one_too(make_plan, tmp_path):
    trained(make_plan("CLASSIFICATION.EPOCHS", 6))
    metrics = read_metrics(tmp_path / "metrics.json").items()
    errors = {i: values["val/top1_error"] for i, values in metrics if "val/top1_error" in values}
    best = read_checkpoint(tmp_path / "model_best.pth")
    assert best["trainer"]["iteration"] == min(errors, key=lambda i: (errors[i], i))
    assert "optimizer" in best["trainer"]["_trainer"] and best["trainer"]["hooks"]["BestCheckpoint"]["best"] == min(
        errors.values()
    )
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert len(list(tmp_path.glob("model_0*.pth"))) == 5


def test_only_the_latest_checkpoints_stay(make_plan, tmp_path):
    trained(make_plan("CLASSIFICATION.EPOCHS", 6, "SOLVER.CHECKPOINTS_KEPT", 2))
    kept = sorted(path.name for path in tmp_path.glob("model_0*.pth"))
    assert len(kept) == 2 and kept[-1] < f"model_{18:07d}.pth"


def test_a_run_may_be_stopped_right_after_a_line_of_its_log(storage):
    storage.put_scalar("total_loss", 1.0)
    ours, theirs = LogPrinter(10), CommonMetricPrinter(10)
    ours.write(), theirs.write()
    ours.write()
    with pytest.raises(ZeroDivisionError):  # once detectron2 has mended it, ours can go
        theirs.write()


def test_a_run_without_improvement_ends_early_and_whole(make_plan, tmp_path, caplog):
    opts = ["CLASSIFICATION.EPOCHS", 40, "TEST.PATIENCE", 2, "SOLVER.BASE_LR", 1e-9, "TEST.PRECISE_BN.ENABLED", True]
    with caplog.at_level("INFO", logger="residet"):
        results = train(make_plan(*opts))
    assert "val/top1_error has not improved" in caplog.text
    final = read_checkpoint(tmp_path / "model_final.pth")
    assert 3 <= final["trainer"]["iteration"] < 100
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert "BN statistics over" in caplog.text


def test_higher_is_better_of_what_is_no_error():
    assert BestCheckpoint(None, "bbox/AP", 0).sign == 1 and BestCheckpoint(None, "val_ema/bbox/AP50", 0).sign == 1


@pytest.mark.parametrize("metric", ["val/top1_error", "validation/loss_cls", "a:b/errors/Loc", "validation_ema/loss"])
def test_lower_is_better_of_errors_and_losses(metric):
    assert BestCheckpoint(None, metric, 0).sign == -1


def test_an_unknown_metric_is_named(make_plan):
    with pytest.raises(InputError, match=r"TEST\.BEST_METRIC: val/top9 is none of val/top1_error, val/top5_error"):
        trained(make_plan("TEST.BEST_METRIC", "val/top9"))


def test_precise_statistics_are_those_of_the_training_set(make_plan):
    """Against a pass over the same batches, layer by layer of the first norm."""
    opts = ["TEST.PRECISE_BN.ENABLED", True, "CLASSIFICATION.CROP", "none", "CLASSIFICATION.FLIP", False]
    plan = make_plan(*opts, "CLASSIFICATION.ARCH", "resnet18")
    cfg, trainer = plan.cfg, trained(plan)
    model = trainer.checkpointer.model
    batches = [b for b, _ in zip(build_train_loader(cfg), range(cfg.TEST.PRECISE_BN.NUM_ITER), strict=False)]
    with torch.no_grad():
        maps = torch.cat([model.network.conv1(model.normalise(batch["image"])) for batch in batches])
    assert torch.allclose(model.network.bn1.running_mean, maps.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(model.network.bn1.running_var, maps.var((0, 2, 3)), rtol=0.02)


# Keys


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.AMP.DTYPE", "float8"], "SOLVER.AMP.DTYPE: 'float8' is none of float16, bfloat16"),
        (["SOLVER.IMS_PER_BATCH", 9, "SOLVER.ACCUMULATE", 2], "9 is no multiple of 1 processes x 2 micro-batches"),
        (["TEST.PATIENCE", 3, "TEST.BEST_METRIC", ""], "TEST.PATIENCE: name the metric"),
        (["SOLVER.EMA.DECAY", 1.0], "SOLVER.EMA.DECAY: 1.0 is not a finite number, 0 or more and below 1"),
        (["SOLVER.EMA.PERIOD", 0], "SOLVER.EMA.PERIOD: 0 is not a whole number of 1 or more"),
        (["SOLVER.CHECKPOINT_PERIOD", 0], "SOLVER.CHECKPOINT_PERIOD: 0 is not a whole number of 1 or more"),
    ],
)
def test_keys_that_cannot_be_used_are_named(opts, message):
    cfg = default_config()
    cfg.merge_from_list(opts)
    with pytest.raises(InputError, match=message):
        check_keys(cfg)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["COMPILE", True, "CHECKPOINT_ACTIVATIONS", True], "does not go with CHECKPOINT_ACTIVATIONS"),
        (["WARMUP_UNTIL_ERROR", 80.0, "SOLVER.LR_SCHEDULER_NAME", "ReduceLROnPlateau"], "has no warm-up"),
        (["NORM", "naiveSyncBN", "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16"], "loses its variance"),
    ],
)
def test_keys_that_do_not_go_together_are_named(make_plan, opts, message):
    opts = [f"CLASSIFICATION.{o}" if str(o).isupper() and "." not in str(o) else o for o in opts]
    with pytest.raises(InputError, match=message):
        make_plan(*opts)


def test_a_drawn_seed_is_written_down(make_plan):
    plan = make_plan("SEED", -1)
    assert plan.cfg.SEED >= 0 and any(line.startswith(f"SEED {plan.cfg.SEED}, drawn") for line in plan.lines)


def test_the_best_averaged_weights_can_be_kept(make_plan, tmp_path):
    trained(make_plan("SOLVER.EMA.DECAY", 0.9, "TEST.BEST_METRIC", "val_ema/top1_error", "CLASSIFICATION.EPOCHS", 1))
    best, average = (read_checkpoint(tmp_path / f"model_{name}.pth")["model"] for name in ("best", "ema"))
    assert all(torch.equal(value, average[name]) for name, value in best.items())


def test_norms_that_cannot_be_used_are_named(make_plan):
    for norm, message in (("LN2", "is none of BN, SyncBN, naiveSyncBN, GN"), ("SyncBN", "on CPUs take naiveSyncBN")):
        with pytest.raises(InputError, match=message):
            make_plan("CLASSIFICATION.NORM", norm)


def test_checkpoints_of_a_run_know_their_names(tmp_path):
    model = nn.Linear(1, 1)
    checkpointer = RunCheckpointer(model, str(tmp_path), {"arch": "a"})
    for i in range(4):
        checkpointer.save(f"model_{i:07d}")
    checkpointer.save("model_best", resumable=False)
    checkpointer.keep_latest(2)
    names = sorted(p.name for p in tmp_path.glob("*.pth"))
    assert names == ["model_0000002.pth", "model_0000003.pth", "model_best.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"


def test_values_that_are_not_finite_are_not_saved(tmp_path):
    model = nn.Linear(2, 1)
    checkpointer = RunCheckpointer(model, str(tmp_path), {"arch": "a"})
    checkpointer.save("model_0000000")
    with torch.no_grad():
        model.weight[0, 1] = math.nan
    for save in (lambda: checkpointer.save("model_final"), lambda: checkpointer.save_model(model, "model_ema")):
        with pytest.raises(FloatingPointError, match=r"1 of 2 tensors .* not finite .* first is 'weight'"):
            save()
    assert [p.name for p in tmp_path.glob("*.pth")] == ["model_0000000.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"
