"""Checkpoints: whole files, strict loading, nothing read by unrestricted pickle."""

import argparse
import logging
import os

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.resnet import ResidualNet
from backbones.weights.export import export
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.load import load_backbone, load_state, spec_of
from backbones.weights.read import Weights, read_weights, variant_warning

import pytest
import torch
import torchvision
from safetensors.torch import save_file


@pytest.fixture
def net():
    return ResidualNet(get_spec("resnet18"), num_classes=4)


def test_round_trip_carries_what_travels_with_the_weights(net, tmp_path):
    path = tmp_path / "w.pth"
    about = {"task": "classification", "arch": "resnet18", "mean": [1.0, 2.0, 3.0], "channel_order": "BGR"}
    save_checkpoint({"model": net.state_dict(), "classes": list("abcd"), **about}, path)
    weights = read_weights(path)
    assert weights.classes == tuple("abcd") and weights.mean == (1.0, 2.0, 3.0) and weights.channel_order == "BGR"
    other = ResidualNet(get_spec("resnet18"), num_classes=4)
    assert str(load_state(other, weights.state, "w")) == "w: 102 of 102 entries fit"
    assert torch.equal(other.layer4[1].conv2.weight, net.layer4[1].conv2.weight)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_bare_state_dict_loads_as_torchvision_saves_it(suffix, tmp_path):
    path = tmp_path / f"w.{suffix}"
    theirs = torchvision.models.resnet18()
    (torch.save if suffix == "pth" else save_file)(theirs.state_dict(), path)
    weights = read_weights(path)
    net = ResidualNet(get_spec("resnet18"))
    load_state(net, weights.state, weights.path)
    assert torch.equal(net.fc.weight, theirs.fc.weight)
    assert weights.arch is None and weights.mean is None


class Payload:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": Payload()}}, "bad.pth")
    with pytest.raises(InputError, match="refused"):
        read_checkpoint("bad.pth")
    assert not os.path.exists("pwned")


def test_damaged_and_missing_files_are_named(net, tmp_path):
    path = tmp_path / "w.pth"
    save_checkpoint({"model": net.state_dict()}, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"w\.pth"):
        read_checkpoint(path)
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(InputError, match="is it whole"):
        read_checkpoint(tmp_path / "text.safetensors")
    for start in (b"hello", b"<html>", b"https://x", b"R"):
        (tmp_path / "text.pth").write_bytes(start)
        with pytest.raises(InputError, match=r"text\.pth"):
            read_checkpoint(tmp_path / "text.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="no state dict"):
        read_weights(tmp_path / "empty.pth")


def test_misfit_counts_names_and_loads_nothing(net):
    other = ResidualNet(get_spec("resnet18"), num_classes=4)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    state = net.state_dict()
    del state["layer1.0.conv1.weight"], state["bn1.bias"]
    state["layer5.0.conv1.weight"] = torch.zeros(1)
    state["fc.bias"] = torch.zeros(9)
    with pytest.raises(InputError) as e:
        load_state(other, state, "w.pth")
    message = str(e.value)
    assert "2 missing (bn1.bias, layer1.0.conv1.weight)" in message
    assert "1 unexpected (layer5.0.conv1.weight)" in message
    assert "fc.bias (9,) for (4,)" in message
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_write_that_fails_leaves_the_old_file(net, tmp_path):
    path = tmp_path / "w.pth"
    save_checkpoint({"model": net.state_dict()}, path)
    whole = path.read_bytes()
    (tmp_path / "w.pth.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"w\.pth: cannot be written \(No space left on device\)"):
        save_checkpoint({"model": net.state_dict()}, path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


# Backbones


def quiet(_report):
    pass


def test_load_backbone_needs_the_file_alone(net, tmp_path):
    path = tmp_path / "w.pth"
    about = {"arch": "resnet18", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "channel_order": "RGB"}
    about |= {"input_size": 96, "classes": ["a", "b", "c", "d"]}
    save_checkpoint({"model": net.state_dict(), "task": "classification", **about}, path)
    said = []
    backbone = load_backbone(path, report=said.append)
    assert said == [f"{path}: 100 of 100 entries fit"]
    assert backbone.spec.name == "resnet18" and backbone.fc is None
    assert torch.equal(backbone.layer4[1].conv2.weight, net.layer4[1].conv2.weight)
    cfg = backbone.pretrained_cfg
    assert cfg["mean"] == (1.0, 2.0, 3.0) and cfg["input_size"] == 96 and cfg["classes"] == ("a", "b", "c", "d")
    net.eval(), backbone.eval()
    with torch.no_grad():
        maps = backbone.feature_maps(torch.ones(1, 3, 64, 64))
        assert torch.equal(maps["res5"], net.feature_maps(torch.ones(1, 3, 64, 64))["res5"])


def test_metadata_survives_safetensors(net, tmp_path):
    about = {
        "arch": "resnet18",
        "mean": [1.0, 2.0, 3.0],
        "channel_order": "RGB",
        "input_size": 96,
        "classes": list("abcd"),
    }
    save_checkpoint({"model": net.state_dict(), **about}, tmp_path / "w.pth")
    export(tmp_path / "w.pth", tmp_path / "w.safetensors", "residet")
    before, after = read_weights(tmp_path / "w.pth"), read_weights(tmp_path / "w.safetensors")
    assert before.metadata == after.metadata and after.input_size == 96
    assert load_backbone(tmp_path / "w.safetensors", report=quiet).spec.name == "resnet18"


def test_below_full_coverage_it_raises_unless_told_otherwise(net, tmp_path):
    state = net.state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(1)
    state["se.weight"] = torch.zeros(1)
    path = tmp_path / "w.pth"
    torch.save({"model": state, "arch": "resnet18"}, path)
    report = "98 of 100 entries fit; 1 missing .layer1.0.conv1.weight.; 1 unexpected .se.weight.; 1 of another shape"
    with pytest.raises(InputError, match=report):
        load_backbone(path, report=quiet)
    said = []
    backbone = load_backbone(path, partial=True, report=said.append)
    assert "98 of 100 entries fit" in said[0]
    assert torch.equal(backbone.layer4[1].conv2.weight, net.layer4[1].conv2.weight)


@pytest.mark.parametrize("name", ["resnet34", "wrn50_2_bottleneck", "resnext50_32x4d", "preact_resnet200", "wrn18_1.5"])
def test_a_bare_file_tells_its_network_by_its_parameters(name, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(ResidualNet(get_spec(name), 2).state_dict(), path)
    assert load_backbone(path, report=quiet).spec.name == name


def test_a_bare_file_that_does_not_tell_is_refused_until_named(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(ResidualNet(get_spec("cifar_resnet20"), 10).state_dict(), path)
    with pytest.raises(InputError, match="names no network and fits cifar_resnet20, cifar_plain20; name its arch"):
        load_backbone(path)
    assert load_backbone(path, "cifar_plain20", report=quiet).spec.name == "cifar_plain20"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(InputError, match="fits none of the catalogue"):
        load_backbone(path)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("wide_resnet50_2", "wrn50_2_bottleneck"), ("resnet50.a1_in1k", "resnet50"), ("resnet", None), ("wrn18_1.5",) * 2],
)
def test_a_checkpoint_of_a_training_script(theirs, ours, tmp_path):
    """timm's writes its name of the network (or its class), torchvision's and timm's their command line."""
    path = tmp_path / "checkpoint.pth"
    args = argparse.Namespace(lr=0.1, model=theirs)
    torch.save({"epoch": 3, "arch": theirs, "state_dict": {"conv1.weight": torch.zeros(1)}, "args": args}, path)
    assert read_weights(path).arch == ours


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"mean": ["x", 1, 2]}, "mean is not three finite numbers"),
        ({"mean": [1.0, 2.0]}, "mean is not three finite numbers"),
        ({"std": "abc"}, "std is not three finite numbers above 0"),
        ({"classes": 5}, "classes is not a list of names"),
        ({"model": {0: torch.zeros(1)}}, "found no state dict"),
    ],
)
def test_wrong_metadata_is_named(net, tmp_path, about, message):
    save_checkpoint({"model": net.state_dict(), **about}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth: {message}"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("arch", [["x"], 7, "resnet"])
def test_an_arch_that_is_none_is_not_believed(net, tmp_path, arch):
    save_checkpoint({"model": net.state_dict(), "arch": arch}, tmp_path / "w.pth")
    assert load_backbone(tmp_path / "w.pth", report=quiet).spec.name == "resnet18"


def test_torchvisions_detector_gives_its_backbone(tmp_path):
    detector = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2)
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    network = load_backbone(tmp_path / "w.pth", report=quiet)
    assert network.spec.name == "resnet50"
    assert torch.equal(network.layer4[2].conv3.weight, detector.backbone.body.layer4[2].conv3.weight)


def test_a_detector_exports_its_backbone(net, tmp_path):
    state = {f"backbone.bottom_up.{k}": v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    state["proposal_generator.rpn_head.conv.weight"] = torch.zeros(1)
    about = {"task": "detection", "arch": "resnet18", "classes": ["cat"], "mean": [1.0, 2.0, 3.0]}
    save_checkpoint({"model": state, **about}, tmp_path / "detector.pth")
    export(tmp_path / "detector.pth", tmp_path / "backbone.pth", "residet")
    weights = read_weights(tmp_path / "backbone.pth")
    assert weights.metadata == {"arch": "resnet18", "mean": (1.0, 2.0, 3.0)}
    assert torch.equal(weights.state["layer4.1.conv2.weight"], net.layer4[1].conv2.weight)


def test_a_file_in_bgr_warns_of_the_caffe_variant(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("residet"), "propagate", True)
    weights = Weights(path="R-50.pkl", state={}, channel_order="BGR")
    assert variant_warning(weights, "resnet50_caffe") == ""
    assert spec_of(weights, "resnet50").name == "resnet50"
    assert "R-50.pkl: may be of the ResNet authors' kind" in caplog.text and "use resnet50_caffe" in caplog.text


def test_a_bare_vgg_is_known_and_gives_its_convolutions(tmp_path):
    with torch.device("meta"):
        shapes = torchvision.models.vgg16(num_classes=2).state_dict()
    state = {k: torch.zeros(1).expand(v.shape) for k, v in shapes.items()}
    assert spec_of(Weights(path="w.pth", state=state)).name == "vgg16"
    convolutions = {k: v for k, v in state.items() if k.startswith("features.")}
    save_checkpoint({"model": convolutions, "arch": "vgg16"}, tmp_path / "w.pth")
    network = load_backbone(tmp_path / "w.pth", report=quiet)
    assert network.classifier is None and not network.features[0].weight.any()
