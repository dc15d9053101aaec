"""Tests of a classifier: ten crops, dense at several scales, and a part of the classes."""

import json

from backbones.catalogue import get_spec
from backbones.dense import Dense
from classification.data.transforms import INTERPOLATIONS
from classification.evaluator import TopKErrorEvaluator
from classification.views import Crops

import pytest
import torch
from calibrate import make_norms_matter
from PIL import Image
from run_tools import assert_clear_error, pretrain
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2.functional import resize

SMOOTH = INTERPOLATIONS["bilinear"]
RUN = ["CLASSIFICATION.ARCH", "resnet18", "CLASSIFICATION.SIZE", 64, "CLASSIFICATION.RESIZE", 64]
RUN += ["SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, "SOLVER.BASE_LR", 0.01]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make_norms_matter(get_spec("resnet18").build(7)).eval()


@torch.no_grad()
def test_ten_crops_are_the_mean_of_their_probabilities(network):
    images = torch.randn(2, 10, 3, 64, 64)
    expected = torch.stack([network(crops).softmax(1).mean(0) for crops in images])
    assert torch.allclose(Crops()(network, images), expected, atol=1e-5)


@torch.no_grad()
def test_dense_at_the_size_of_training_is_the_whole_image(network):
    image = torch.randn(2, 3, 224, 224)
    expected = (network(image).softmax(1) + network(image.flip(-1)).softmax(1)) / 2
    assert torch.allclose(Dense((224,), 224, SMOOTH)(network, image), expected, atol=1e-5)


@torch.no_grad()
def test_dense_is_the_network_turned_into_convolutions(network):
    """fc as a 1x1 convolution behind 7x7 pooling, at every place."""
    image = torch.randn(1, 3, 300, 400)
    fc = nn.Conv2d(512, 7, 1)
    fc.weight.copy_(network.fc.weight[:, :, None, None])
    fc.bias.copy_(network.fc.bias)
    expected = []
    for scale in (256, 384):
        resized = resize(image, [scale], antialias=True)
        for view in (resized, resized.flip(-1)):
            scores = fc(functional.avg_pool2d(network.feature_maps(view)["res5"], 7, 1))
            assert scores.shape[-1] > scores.shape[-2] > 1
            expected.append(scores.mean((2, 3)).softmax(1))
    assert torch.allclose(Dense((256, 384), 224, SMOOTH)(network, image), torch.stack(expected).mean(0), atol=1e-5)


def test_errors_among_all_classes_and_among_those_present():
    scores = torch.zeros(3, 8)
    scores[0, [0, 1]] = torch.tensor([1.0, 2.0])  # 1 wins, of those present 0
    scores[1, 2] = 1.0
    scores[2, [0, 2]] = torch.tensor([1.0, 0.5])  # wrong either way
    evaluator = TopKErrorEvaluator(present=[0, 2])
    evaluator.reset()
    evaluator.process({"label": torch.tensor([0, 2, 2])}, scores)
    results = evaluator.evaluate()["val"]
    assert results["top1_error"] == pytest.approx(200 / 3)
    assert results["top1_error_2way"] == pytest.approx(100 / 3)
    assert results["top5_error"] == 0 and results["images"] == 3


@pytest.fixture(scope="module")
def pretrained(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("views")
    done = pretrain("--data", shapes / "crops", *RUN, "CLASSIFICATION.EPOCHS", 4, "OUTPUT_DIR", out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_view_from_the_command_line(shapes, pretrained, tmp_path):
    images = len(list((shapes / "crops" / "val").rglob("*.png")))
    common = ["--eval-only", "--data", shapes / "crops", *RUN, "MODEL.WEIGHTS", pretrained / "model_final.pth"]
    for i, test in enumerate((["VIEWS", "10crop", "SIZE", 48], ["VIEWS", "dense", "SCALES", "(64,80)"], ["SIZE", 56])):
        keys = [f"CLASSIFICATION.TEST.{k}" if isinstance(k, str) and k.isupper() else k for k in test]
        done = pretrain(*common, *keys, "OUTPUT_DIR", tmp_path / str(i))
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / str(i) / "results.json").read_text())["images"] == images
    vgg = ["--eval-only", "--data", shapes / "crops", "MODEL.WEIGHTS", "none", "CLASSIFICATION.ARCH", "vgg16"]
    assert_clear_error(pretrain(*vgg, "CLASSIFICATION.TEST.VIEWS", "dense"), "vgg16 has no fully convolutional form")


def test_a_network_of_more_classes_is_scored_both_ways(shapes, pretrained, tmp_path):
    """As ImageNet-5K's networks are on ImageNet-1K (ResNeXt, section 6.1)."""
    classes = sorted(p.name for p in (shapes / "crops" / "train").iterdir())
    for name in classes[1:3]:
        (tmp_path / "val" / name).mkdir(parents=True)
        for path in (shapes / "crops" / "val" / name).iterdir():
            Image.open(path).save(tmp_path / "val" / name / path.name)
    args = ["--eval-only", "--data", tmp_path, *RUN, "MODEL.WEIGHTS", pretrained / "model_final.pth"]
    done = pretrain(*args, "OUTPUT_DIR", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["top1_error_2way"] <= results["top1_error"]


def test_training_on_more_classes_than_val_has(shapes, tmp_path):
    classes = sorted(p.name for p in (shapes / "crops" / "train").iterdir())
    (tmp_path / "classes.txt").write_text("\n".join(classes))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(shapes / "crops" / "train")
    for name in classes[:2]:
        (tmp_path / "data" / "val").mkdir(exist_ok=True)
        (tmp_path / "data" / "val" / name).symlink_to(shapes / "crops" / "val" / name)
    args = ["--data", tmp_path / "data", *RUN, "CLASSIFICATION.EPOCHS", 1, "OUTPUT_DIR", tmp_path / "out"]
    assert_clear_error(pretrain(*args), "classes of", "differ")
    done = pretrain(*args, "CLASSIFICATION.CLASS_LIST", tmp_path / "classes.txt")
    assert done.returncode == 0, done.stderr
    assert "top1_error_2way" in json.loads((tmp_path / "out" / "results.json").read_text())


def test_ten_crops_take_the_memory_of_one():
    sizes = []

    def network(images):
        sizes.append(len(images))
        return images.mean((2, 3))

    images = torch.rand(3, 10, 3, 4, 4)
    expected = images.mean((3, 4)).softmax(2).mean(1)
    assert torch.allclose(Crops()(network, images), expected) and max(sizes) == 3
