"""Checkpoints: whole files, strict loading, nothing read by unrestricted pickle."""

import os

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.files import read_checkpoint, save_checkpoint
from backbones.resnet import ResidualNet
from backbones.weights import load_state, read_weights

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
    assert str(load_state(other, weights.state, "w")) == "w: 102 of 102 entries loaded"
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


def test_a_write_that_fails_leaves_the_old_file(net, tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    save_checkpoint({"model": net.state_dict()}, path)
    whole = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint({"model": {}}, path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]
