"""Ensembles of classifiers: one equals itself, two are the mean by hand, and what does not fit is refused."""

import json

from backbones.catalogue import get_spec
from backbones.weights.files import read_checkpoint, save_checkpoint

import pytest
import torch
from calibrate import make_norms_matter
from run_tools import assert_clear_error, pretrain
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

RUN = ["CLASSIFICATION.SIZE", 48, "CLASSIFICATION.RESIZE", 56, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0]
# Each member has its own network and pixels.
MEMBERS = {"resnet18": ([100.0, 110.0, 120.0], [50.0, 60.0, 70.0]), "wrn18_1.5": ([0.0] * 3, [255.0] * 3)}


@pytest.fixture(scope="module")
def files(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    classes = sorted(p.name for p in (shapes / "crops" / "train").iterdir())
    for number, (arch, (mean, std)) in enumerate(MEMBERS.items()):
        torch.manual_seed(number)
        network = make_norms_matter(get_spec(arch).build(len(classes)))
        says = {"task": "classification", "arch": arch, "mean": mean, "std": std, "channel_order": "RGB"}
        save_checkpoint({"model": network.state_dict(), **says, "classes": classes}, folder / f"{arch}.pth")
    return folder


def evaluate(shapes, output, *args):
    done = pretrain("--eval-only", "--data", shapes / "crops", *args, *RUN, "OUTPUT_DIR", output)
    assert done.returncode == 0, done.stderr
    return json.loads((output / "results.json").read_text()), done.stdout


def error_by_hand(shapes, files, shares):
    """The top-1 error of the mean of the probabilities, from the pixels on."""
    wrong = images = 0
    classes = sorted(p.name for p in (shapes / "crops" / "val").iterdir())
    networks = {}
    for arch, (mean, std) in MEMBERS.items():
        network = get_spec(arch).build(len(classes)).eval()
        network.load_state_dict(read_checkpoint(files / f"{arch}.pth")["model"])
        networks[arch] = network, torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    for label, name in enumerate(classes):
        for path in sorted((shapes / "crops" / "val" / name).iterdir()):
            image = F.center_crop(F.resize(decode_image(str(path), ImageReadMode.RGB), [56], antialias=True), [48, 48])
            with torch.no_grad():
                mean = sum(
                    share * network(((image - m) / s)[None]).softmax(1)
                    for share, (network, m, s) in zip(shares, networks.values(), strict=True)
                )
            wrong += int(mean.argmax() != label)
            images += 1
    return 100 * wrong / images, images


def test_members_of_different_networks_and_pixels_are_averaged(shapes, files, tmp_path):
    a, b = (files / f"{arch}.pth" for arch in MEMBERS)
    flags = ["--weights", a, "--weights", b]
    found, log = evaluate(shapes, tmp_path / "two", *flags, "--shares", "3,1")
    expected, images = error_by_hand(shapes, files, (0.75, 0.25))
    assert found["images"] == images and found["top1_error"] == pytest.approx(expected)
    assert "wrn18_1.5, share 0.25" in log and f"ensemble of 2 on {images} images" in log
    alone = [error_by_hand(shapes, files, shares)[0] for shares in ((1.0, 0.0), (0.0, 1.0))]
    assert [m["top1_error"] for m in found["members"]] == pytest.approx(alone)
    assert [m["weights"] for m in found["members"]] == [str(a), str(b)]


@pytest.mark.parametrize("views", [[], ["CLASSIFICATION.TEST.VIEWS", "10crop"]])
def test_one_classifier_twice_is_itself(shapes, files, tmp_path, views):
    path = files / "resnet18.pth"
    twice, _ = evaluate(shapes, tmp_path / "twice", "--weights", path, "--weights", path, *views)
    once, _ = evaluate(shapes, tmp_path / "once", "--weights", path, "--arch", "resnet18", *views)
    assert {k: twice[k] for k in once} == once


def test_what_is_no_ensemble_is_refused(shapes, files, tmp_path):
    path = files / "resnet18.pth"
    args = ["--data", shapes / "crops", "--weights", path, "--weights"]
    output = [*RUN, "OUTPUT_DIR", tmp_path / "run"]
    assert_clear_error(pretrain(*args, path, *output), "--weights: several files are an ensemble")
    done = pretrain(*args, path, "--eval-only", "--shares", "1,0", *output)
    assert_clear_error(done, "--shares: 1,0 are not 2 numbers above 0")
    content = read_checkpoint(path)
    more = [*content["classes"], "zebra"]
    content["model"]["fc.weight"] = torch.zeros(len(more), 512)
    content["model"]["fc.bias"] = torch.zeros(len(more))
    save_checkpoint(content | {"classes": more}, tmp_path / "more.pth")
    done = pretrain(*args, tmp_path / "more.pth", "--eval-only", *output)
    assert_clear_error(done, "more.pth: knows 6 classes", "take classifiers of the same classes")
