"""Pretraining: data, evaluator, schedule, and the tool as a user runs it."""

import itertools
import json

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.resnet import ResidualNet
from backbones.weights.files import read_checkpoint
from classification.config import default_config
from classification.data.datasets import class_names, open_split
from classification.data.loaders import build_train_loader
from classification.evaluator import TopKErrorEvaluator
from classification.layer_response import layer_responses
from classification.model import Classifier
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer

import pytest
import torch
from PIL import Image
from run_tools import PROJECT, assert_clear_error, pretrain, run_tool

TINY = ["CLASSIFICATION.SIZE", 32, "CLASSIFICATION.RESIZE", 32, "CLASSIFICATION.EPOCHS", 2, "SOLVER.IMS_PER_BATCH", 8]
TINY += ["DATALOADER.NUM_WORKERS", 0, "CLASSIFICATION.ARCH", "resnet18", "SOLVER.BASE_LR", 0.01]


@pytest.fixture
def cfg(shapes):
    cfg = default_config()
    cfg.merge_from_list([*TINY, "CLASSIFICATION.DATA", str(shapes / "crops")])
    return cfg


def test_batches_are_uint8_images_and_labels(cfg):
    batch = next(iter(build_train_loader(cfg)))
    assert batch["image"].shape == (8, 3, 32, 32) and batch["image"].dtype == torch.uint8
    assert batch["label"].shape == (8,)


def test_same_seed_same_batches(cfg):
    first, second = (next(iter(build_train_loader(cfg)))["label"] for _ in range(2))
    assert torch.equal(first, second)
    cfg.SEED = 1
    assert not torch.equal(first, next(iter(build_train_loader(cfg)))["label"])


def test_model_normalises_and_gives_losses_or_logits():
    model = Classifier(get_spec("resnet18").build(4), [10.0] * 3, [2.0] * 3)
    batch = {"image": torch.full((2, 3, 32, 32), 10, dtype=torch.uint8), "label": torch.tensor([0, 3])}
    assert model(batch)["loss_cls"].ndim == 0
    model.eval()
    with torch.no_grad():
        assert torch.equal(
            model(batch)[0], model.network.fc.bias
        )  # the mean image is zero, and nothing but fc has a bias
    assert not any(k.startswith("pixel") for k in model.state_dict())


def test_errors_are_of_all_images():
    evaluator = TopKErrorEvaluator()
    evaluator.reset()
    evaluator.process({"label": torch.arange(10)}, torch.eye(10))  # all right
    ascending = torch.arange(10.0).expand(2, 10)
    evaluator.process({"label": torch.tensor([5, 0])}, ascending)  # the fifth, and the last
    result = evaluator.evaluate()["val"]
    assert result["images"] == 12
    assert result["top1_error"] == pytest.approx(100 * 2 / 12)
    assert result["top5_error"] == pytest.approx(100 * 1 / 12)


def test_classes_of_train_and_val_must_agree(cfg, tmp_path):
    for folder in ("train/a", "train/b", "val/a", "val/c"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    cfg.CLASSIFICATION.DATA = str(tmp_path)
    with pytest.raises(InputError, match=r"only in train \['b'\], only in val \['c'\]"):
        class_names(cfg)
    assert class_names(cfg, eval_only=True) == ("a", "c")


def test_cifar_as_folders_of_jpegs(tmp_path):
    """The layout that others hand CIFAR-10 on in: train/CLASS/0001.jpg and test/CLASS/0001.jpg."""
    noise = torch.randint(256, (32, 32, 3), dtype=torch.uint8).numpy()
    for split, name in itertools.product(("train", "test"), ("airplane", "bird")):
        (tmp_path / split / name).mkdir(parents=True)
        for number in ("0001", "0002"):
            Image.fromarray(noise).save(tmp_path / split / name / f"{number}.jpg")
    cfg = default_config()
    cfg.merge_from_list([*TINY, "CLASSIFICATION.DATA", str(tmp_path)])
    for split in ("train", "val"):
        images = open_split(cfg, split)
        image, label = images.load(0)
        assert image.shape == (3, 32, 32) and image.float().std() > 1 and label == 0
        assert len(images) == 4 and images.load(3)[1] == 1


def test_tool_trains_resumes_and_evaluates(shapes, tmp_path):
    out = tmp_path / "run"
    common = ["--data", shapes / "crops", *TINY, "OUTPUT_DIR", out]
    first = pretrain(*common)
    assert first.returncode == 0, first.stderr
    assert "top1 error" in first.stdout and "the paper's" not in first.stdout
    assert Image.open(out / "curve.png").size[0] > 500
    checkpoint = read_checkpoint(out / "model_final.pth")
    assert checkpoint["arch"] == "resnet18" and checkpoint["task"] == "classification"
    assert checkpoint["classes"] == sorted(p.name for p in (shapes / "crops" / "train").iterdir())

    again = pretrain(*common)
    assert again.returncode == 2 and "holds another run" in again.stderr

    longer = pretrain("--resume", *common, "CLASSIFICATION.EPOCHS", 3)
    assert longer.returncode == 0, longer.stderr
    before = checkpoint["trainer"]["iteration"]
    assert f"resumed at iteration {before + 1}" in longer.stdout
    resumed = read_checkpoint(out / "model_final.pth")
    assert resumed["trainer"]["iteration"] > before

    evaluated = pretrain("--eval-only", *common, "MODEL.WEIGHTS", out / "model_final.pth", "OUTPUT_DIR", tmp_path / "e")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "e" / "results.json").read_text()) == json.loads((out / "results.json").read_text())


# Networks of other kinds than ImageNet's ResNets


@pytest.fixture(scope="module")
def cifar_runs(shapes, tmp_path_factory):
    """`cifar_resnet20` and its plain twin, pretrained for a moment on 32 px crops."""
    runs = {}
    for arch in ("cifar_resnet20", "cifar_plain20"):
        runs[arch] = tmp_path_factory.mktemp(arch)
        options = ["CLASSIFICATION.EPOCHS", 2, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0]
        config = PROJECT / "configs" / "classification" / "cifar_resnet.yaml"
        done = pretrain(
            "--arch", arch, "--data", shapes / "crops", "--config-file", config, "OUTPUT_DIR", runs[arch], *options
        )
        assert done.returncode == 0, done.stderr
    return runs


def test_layer_response_tool_measures_and_draws(cifar_runs, shapes, tmp_path):
    files = [run / "model_final.pth" for run in cifar_runs.values()]
    done = run_tool("layer_response.py", *files, "--data", shapes / "crops", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    responses = json.loads((tmp_path / "layer_response.json").read_text())
    assert {name: len(stds) for name, stds in responses.items()} == {"cifar_resnet20": 19, "cifar_plain20": 19}
    assert list(responses["cifar_resnet20"])[:2] == ["conv1", "layer1.0.conv1"]
    assert Image.open(tmp_path / "layer_response.png").size[0] > 500
    assert_clear_error(run_tool("layer_response.py", "none.pth", "--data", shapes / "crops"), "none.pth")


def test_layer_response_is_the_std_after_bn_over_all_images():
    network = ResidualNet(get_spec("cifar_resnet20"), None)
    seen = []
    network.layer2[1].bn1.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    images = [torch.randn(3, 3, 32, 32), torch.randn(2, 3, 32, 32)]
    responses = layer_responses(network, images)
    expected = torch.cat(seen).double().std(correction=0).item()
    assert responses["layer2.1.conv1"] == pytest.approx(expected, rel=1e-6)
    assert not network.training and not network.bn1._forward_hooks
    with pytest.raises(InputError, match="here BN comes first"):
        layer_responses(ResidualNet(get_spec("cifar_preact_resnet110"), None), images)


def test_a_wide_resnet_pretrains_with_every_option(shapes, tmp_path):
    options = [*TINY, "CLASSIFICATION.ARCH", "cifar_wrn10_1_b33_d.30", "CLASSIFICATION.EPOCHS", 1]
    options += ["CLASSIFICATION.CHECKPOINT_ACTIVATIONS", True, "CLASSIFICATION.RESIDUAL_SCALE", 0.2]
    done = pretrain("--data", shapes / "crops", "OUTPUT_DIR", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    checkpoint = read_checkpoint(tmp_path / "out" / "model_final.pth")
    assert checkpoint["arch"] == "cifar_wrn10_1_d0.3" and checkpoint["input_size"] == 32
    again = pretrain(
        "--eval-only",
        "--data",
        shapes / "crops",
        "OUTPUT_DIR",
        tmp_path / "out",
        *options,
        "MODEL.WEIGHTS",
        tmp_path / "out" / "model_final.pth",
    )
    assert again.returncode == 0, again.stderr


def test_vgg_is_a_classifier_too(cfg):
    cfg.CLASSIFICATION.ARCH, cfg.MODEL.DEVICE = "vgg16", "cpu"
    prepare(cfg, eval_only=False)
    model = ClassificationTrainer.build_model(cfg)
    model(next(iter(build_train_loader(cfg))))["loss_cls"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert list(model.state_dict())[-1] == "classifier.6.bias"


def test_options_that_a_network_lacks_are_named(shapes, tmp_path):
    options = [*TINY, "CLASSIFICATION.ARCH", "plain18", "CLASSIFICATION.RESIDUAL_SCALE", 0.2]
    done = pretrain("--data", shapes / "crops", "OUTPUT_DIR", tmp_path / "out", *options)
    assert_clear_error(done, "plain18", "without shortcuts")
