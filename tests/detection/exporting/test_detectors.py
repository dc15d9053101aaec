"""Trained detectors in the runtimes themselves: the tool, the Predictor's backends, and the script without residet."""

import json
import subprocess
import sys

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from detection import Predictor
from detection.export import export_portable

import numpy as np
import pytest
from detectron2.config import CfgNode
from PIL import Image
from run_tools import PROJECT, assert_clear_error, run_tool

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(detector_run, shapes, tmp_path_factory):
    """The detector as .onnx, by the tool."""
    path = tmp_path_factory.mktemp("exported") / "detector.onnx"
    args = [detector_run / "model_final.pth", "--to", "onnx", "--images", shapes / "images" / "val", "--output", path]
    done = run_tool("export.py", *args)
    assert done.returncode == 0, done.stderr
    assert "detector of 5 classes for onnx in float32; in 6 images it detects the" in done.stdout
    assert [p.name for p in path.parent.iterdir()] == ["detector.onnx"]
    return path


@pytest.fixture(scope="module")
def small(detector_run, tmp_path_factory):
    """The checkpoint with proposals and regions from one map, whose graph is exported in half the time."""
    content = read_checkpoint(detector_run / "model_final.pth")
    cfg = CfgNode.load_cfg(content["config"])
    anchors = cfg.MODEL.ANCHOR_GENERATOR
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = cfg.MODEL.RPN.IN_FEATURES[1:2]
    anchors.SIZES = anchors.SIZES[1:2]
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.02
    path = tmp_path_factory.mktemp("small") / "model.pth"
    save_checkpoint(content | {"config": cfg.dump()}, path)
    return path


def assert_same(one, other):
    assert len(one) == len(other) > 0 and one.names == other.names
    np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=0.5)
    np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def images(shapes):
    return sorted((shapes / "images" / "val").glob("*.png"))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backends_detect_the_same(backend, exported, detector_run, images):
    pytest.importorskip(backend)
    expected, found = Predictor(detector_run / "model_final.pth"), Predictor(exported, backend=backend)
    assert found.classes == expected.classes
    for path in images:
        assert_same(found(path), expected(path))
    wide = np.asarray(Image.open(images[0]).convert("RGB").resize((200, 90)))  # another shape than traced
    assert_same(found(wide, "RGB"), expected(wide, "RGB"))
    tiles = Predictor(exported, backend=backend, tiles=72), Predictor(detector_run / "model_final.pth", tiles=72)
    assert_same(tiles[0](images[0]), tiles[1](images[0]))
    high = Predictor(exported, backend=backend, score_threshold=0.2, classes=["disk"])
    for path in images:
        reference = expected(path)
        wanted = (reference.scores > 0.2) & (reference.class_ids == reference.classes.index("disk"))
        assert len(high(path)) == wanted.sum()


def test_a_checkpoint_runs_in_a_runtime(small, images):
    with_runtime = Predictor(small, backend="onnxruntime", score_threshold=0.01)
    assert_same(with_runtime(images[0]), Predictor(small, score_threshold=0.01)(images[0]))


def test_the_file_runs_without_this_project(exported, images, detector_run, tmp_path):
    """The script of the documentation, where nothing of this project can be imported."""
    script = PROJECT / "docs" / "examples" / "run_onnx.py"
    assert len(script.read_text().splitlines()) <= 30
    command = [sys.executable, "-I", str(script), str(exported), str(images[0])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = Predictor(detector_run / "model_final.pth")(images[0])
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == expected.names
    np.testing.assert_allclose([float(line[1]) for line in lines], expected.scores, atol=2e-3)
    np.testing.assert_allclose([[float(v) for v in line[2:]] for line in lines], expected.boxes, atol=0.6)


def test_the_file_says_what_a_program_must_know(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    said = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert said["classes"] == ["cross", "disk", "square", "star", "triangle"] and said["task"] == "detection"
    assert (said["min_size"], said["channel_order"], said["opset"]) == (112, "RGB", 18)
    assert {i.domain: i.version for i in model.opset_import}[""] == 18
    sides = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [0, 0, 3]  # height and width are free


def test_openvino_s_own_format(small, shapes, images, tmp_path):
    pytest.importorskip("openvino")
    out = tmp_path / "größe.xml"
    args = [small, "--to", "openvino", "--images", shapes / "images" / "val"]
    done = run_tool("export.py", *args, "--output", out)
    assert done.returncode == 0, done.stderr
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".bin", ".xml"]
    assert_same(Predictor(out)(images[1]), Predictor(small)(images[1]))
    assert_clear_error(run_tool("export.py", *args, "--output", out), ".bin: the file exists")


def test_torch_export(small, images, tmp_path):
    line = export_portable(small, tmp_path / "d.pt2", "torch-export", None, [str(images[0]), str(images[2])])
    assert "in 2 images it detects the" in line and (tmp_path / "d.pt2").is_file()


def test_int8_with_the_ap_that_it_costs(small, shapes, images, tmp_path):
    args = [small, "--to", "onnx", "--precision", "int8", "--data", f"{shapes}:val"]
    args += ["--images", shapes / "images" / "train", "--output", tmp_path / "d.onnx"]
    done = run_tool("export.py", *args, "--max-loss", 100)
    assert done.returncode == 0, done.stderr
    assert "for onnx in int8; on 6 images of" in done.stdout and "times as fast" in done.stdout
    found = Predictor(tmp_path / "d.onnx", score_threshold=0.05)(images[0])
    assert found.classes == Predictor(small).classes
    quantised = {node.op_type for node in onnx.load(tmp_path / "d.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "NonMaxSuppression"} <= quantised
    assert [p.name for p in tmp_path.iterdir()] == ["d.onnx"]


def test_without_agreement_there_is_no_file(detector_run, tmp_path):
    """Nothing is detected in a black image, so the file cannot be checked."""
    from PIL import Image

    Image.new("RGB", (128, 128)).save(tmp_path / "black.png")
    args = ["--to", "torch-export", "--images", tmp_path / "black.png", "--output", tmp_path / "out" / "d.pt2"]
    weights = detector_run / "model_final.pth"
    done = run_tool("export.py", weights, *args, "--config-file", strict_config(detector_run, tmp_path))
    assert_clear_error(done, "the model detects nothing in 1 images")
    assert list((tmp_path / "out").iterdir()) == []


def strict_config(run, folder):
    path = folder / "strict.yaml"
    path.write_text(f"_BASE_: {run / 'config.yaml'}\nMODEL: {{ROI_HEADS: {{SCORE_THRESH_TEST: 0.99}}}}\n")
    return path


def test_mistakes_are_told_before_the_work(exported, detector_run, images, tmp_path):
    weights = detector_run / "model_final.pth"
    onnx_args = [weights, "--to", "onnx"]
    for args, words in [
        ([*onnx_args, "--output", tmp_path / "d.onnx"], ["--images"]),
        ([*onnx_args, "--output", tmp_path / "d.pth", "--images", images[0]], ["d.pth", "name it", "d.onnx"]),
        ([*onnx_args, "--output", exported, "--images", images[0]], ["the file exists; name another file"]),
        ([weights, "--to", "onnx", "--output", weights, "--images", images[0]], ["ends with .onnx"]),
    ]:
        assert_clear_error(run_tool("export.py", *args), *words)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"was exported with 0\.05"):
        Predictor(exported, score_threshold=0.01)
    with pytest.raises(InputError, match="leave them out"):
        Predictor(exported, augmentation=True)
    (tmp_path / "broken.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"broken\.onnx: cannot be opened"):
        Predictor(tmp_path / "broken.onnx")
