"""Classifiers and backbones in the runtimes themselves."""

import functools
import json

from backbones import create_network
from backbones.errors import InputError
from backbones.portable.files import new_file, open_session, open_written
from backbones.portable.networks import export_network

import numpy as np
import pytest
import torch
from run_tools import assert_clear_error, run_tool
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
NORMS = {"BN": nn.BatchNorm2d, "GN": functools.partial(nn.GroupNorm, 32)}
MEAN, STD = [120.0, 110.0, 100.0], [50.0, 60.0, 70.0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A classifier of four classes that takes BGR pixels."""
    path = tmp_path_factory.mktemp("weights") / "classifier.pth"
    network = create_network("cifar_resnet20", num_classes=4)
    said = {"task": "classification", "arch": "cifar_resnet20", "mean": MEAN, "std": STD, "channel_order": "BGR"}
    torch.save({"model": network.state_dict(), "classes": ["a", "b", "c", "d"], **said}, path)
    return path


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size, np.uint8) for size in ((64, 80, 3), (97, 64, 3))]


def expected(weights, batch):
    """What the network gives for (N, H, W, 3) RGB, normalised here."""
    network = create_network("cifar_resnet20", pretrained=weights).eval()
    x = torch.from_numpy(batch[..., ::-1].astype(np.float32).copy())
    x = ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(x).numpy()


@pytest.mark.parametrize("format_name", ["onnx", "openvino", "torch-export"])
def test_a_classifier_gives_the_same_logits(format_name, weights, images, tmp_path):
    if format_name == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / {"onnx": "c.onnx", "openvino": "c.xml", "torch-export": "c.pt2"}[format_name]
    line = export_network(weights, path, format_name, "classifier", images)
    assert "classifier cifar_resnet20" in line
    session = open_written(path)
    if format_name != "torch-export":
        said = open_session(path)[1]
        assert said["classes"] == ["a", "b", "c", "d"] and said["task"] == "classification"
    if format_name == "onnx":
        texts = {p.key: p.value for p in onnx.load(path).metadata_props}
        assert json.loads(texts["classes"]) == ["a", "b", "c", "d"]
    for count in (1, 3):
        batch = np.stack([images[0][:32, :32]] * count)
        np.testing.assert_allclose(session(batch)[0], expected(weights, batch), atol=1e-4)


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_a_backbone_gives_the_same_maps_for_images_of_every_size(norm, images, tmp_path):
    network = create_network("resnet18", num_classes=0, norm=NORMS[norm]).eval()
    said = {"task": "classification", "arch": "resnet18", "norm": norm, "mean": MEAN, "std": STD}
    torch.save({"model": network.state_dict(), **said}, tmp_path / "w.pth")
    path = tmp_path / "b.onnx"
    export_network(tmp_path / "w.pth", path, "onnx", "backbone", images)
    session, said = open_session(path)
    assert said["task"] == "features" and said["side"] is None
    x = torch.from_numpy(images[1].astype(np.float32))
    with torch.no_grad():
        maps = network.feature_maps((((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1))[None])
    for found, (name, value) in zip(session(images[1][None]), maps.items(), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-3, err_msg=name)


def test_mistakes_have_one_message_and_leave_no_file(weights, images, tmp_path):
    from PIL import Image

    picture = tmp_path / "in" / "a.png"
    picture.parent.mkdir()
    Image.fromarray(images[0]).save(picture)
    bare = torch.load(weights, weights_only=True)
    torch.save({k: v for k, v in bare.items() if k not in ("mean", "std")}, tmp_path / "in" / "bare.pth")
    out = tmp_path / "out" / "c.onnx"
    args = ["--to", "onnx", "--output", out, "--images", picture]
    assert_clear_error(run_tool("export.py", tmp_path / "in" / "bare.pth", *args), "bare.pth", "mean and std")
    assert_clear_error(run_tool("export.py", weights, *args, "--part", "detector"), "how its detector is built")
    assert not out.exists()
    with pytest.raises(InputError, match="holds a pickle"):
        open_session("model.pt2")
    with pytest.raises(RuntimeError), new_file(out, "onnx") as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert list(out.parent.iterdir()) == []
