"""Files in fewer bits: what they cost is measured, and decides whether the file stays."""

import re

import backbones
from backbones.errors import InputError
from backbones.portable.files import open_session
from backbones.portable.precision import Score, cost
from backbones.weights.files import save_checkpoint

import numpy as np
import pytest
from run_tools import assert_clear_error, run_tool

CLASSES = ["cross", "disk", "square", "star", "triangle"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    network = backbones.create_network("resnet18", num_classes=5)
    pixels = {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4], "channel_order": "RGB", "input_size": 64}
    path = tmp_path_factory.mktemp("classifier") / "w.pth"
    content = {"model": network.state_dict(), "arch": "resnet18", "classes": CLASSES, "task": "classification"}
    save_checkpoint(content | pixels, path)
    return path


def scores(*values):
    """What scores the files in turn, and the files, which hold nothing that is looked at."""
    left = iter(values)
    return lambda session: Score("AP", next(left), "DIR:val", 20, 10.0)


def test_the_loss_decides_whether_the_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("backbones.portable.precision.open_session", lambda path: [path])
    exact, reduced = tmp_path / "a.onnx", tmp_path / "b.onnx"
    exact.write_bytes(bytes(4_000_000)), reduced.write_bytes(bytes(1_000_000))
    words = cost(exact, reduced, scores(40.0, 39.5), max_loss=0.5)
    assert "AP 39.50, in float32 40.00, a loss of 0.50" in words and "1.0 MB, in float32 4.0 MB" in words
    for after in (39.4, float("nan")):
        with pytest.raises(InputError, match=r"not written: .* more than --max-loss 0\.5"):
            cost(exact, reduced, scores(40.0, after), max_loss=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_a_classifier_in_fewer_bits(precision, classifier, shapes, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "c.onnx"
    args = [classifier, "--to", "onnx", "--precision", precision, "--images", shapes / "crops" / "train" / "star"]
    done = run_tool("export.py", *args, "--data", shapes / "crops", "--max-loss", 100, "--output", path)
    assert done.returncode == 0, done.stderr
    images = len([*(shapes / "crops" / "val").rglob("*.png")])
    assert f"in {precision} (logits); on {images} images of" in done.stdout and "top-1 accuracy" in done.stdout
    small, large = map(float, re.search(r"([\d.]+) MB, in float32 ([\d.]+) MB", done.stdout).groups())
    assert small < (0.3 if precision == "int8" else 0.6) * large
    session, metadata = open_session(path)
    assert metadata["precision"] == precision and metadata["classes"] == CLASSES
    assert session(np.zeros((3, 70, 90, 3), np.uint8))[0].shape == (3, 5)  # number and size of the images stay free
    assert [p.name for p in tmp_path.iterdir()] == ["c.onnx"]


def test_what_fewer_bits_need_is_told_before_the_work(classifier, shapes, tmp_path):
    args = [classifier, "--images", shapes / "crops" / "train" / "star", "--precision", "int8"]
    done = run_tool("export.py", *args, "--to", "onnx", "--output", tmp_path / "c.onnx")
    assert_clear_error(done, "--data: name annotated data on which the cost of int8 is measured")
    done = run_tool("export.py", *args, "--to", "torch-export", "--data", shapes, "--output", tmp_path / "c.pt2")
    assert_clear_error(done, "--precision: torch-export takes float32 alone, not int8")
    assert not [*tmp_path.iterdir()]
