"""Places that cannot be written: one message in every tool, before any work, and nothing of the user's replaced."""

from pathlib import Path

import pytest
from run_tools import assert_clear_error, pretrain, run_tool, train_net

RUN = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
RUN += ["CLASSIFICATION.EPOCHS", 1, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]


@pytest.fixture(params=["file", "below_a_file", "read_only", "dangling", "below_dangling", "long", "nul", "circle"])
def place(request, tmp_path):
    """A path at which nothing can be written, not even by root."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at_all")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return {
        "file": tmp_path / "file",
        "below_a_file": tmp_path / "file" / "x",
        "read_only": Path("/proc/residet"),
        "dangling": tmp_path / "dangling",
        "below_dangling": tmp_path / "dangling" / "x",
        "long": tmp_path / ("x" * 300),
        "nul": f"{tmp_path}/a\0b",
        "circle": tmp_path / "circle",
    }[request.param]


def assert_refused(done, tmp_path):
    assert_clear_error(done)
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial")) and not (tmp_path / "nowhere").exists()


def test_pretraining_refuses_a_place_that_cannot_be_written(shapes, tmp_path, place):
    assert_refused(pretrain("--data", shapes / "crops", *RUN, "OUTPUT_DIR", place), tmp_path)


def test_detection_refuses_a_place_that_cannot_be_written(shapes, tmp_path, place):
    data = ["--train", shapes / "annotations" / "train.json", "--val", shapes / "annotations" / "val.json"]
    config = ["--config-file", "configs/demo/faster_rcnn_resnet18_fpn.yaml"]
    assert_refused(train_net(*config, *data, "OUTPUT_DIR", place), tmp_path)
    assert_refused(train_net(*config, *data, "--eval-only", "--weights", "x.pth", "OUTPUT_DIR", place), tmp_path)


def test_tools_with_a_folder(shapes, tmp_path, place):
    source = shapes / "annotations" / "val.json"
    assert_refused(run_tool("inspect_data.py", source, "--output", place), tmp_path)
    assert_refused(run_tool("layer_response.py", "x.pth", "--data", shapes, "--output", place), tmp_path)
    assert_refused(run_tool("demo.py", "--output", place), tmp_path)


def test_tools_with_a_file(shapes, tmp_path, place):
    source = shapes / "annotations" / "val.json"
    assert_refused(run_tool("convert.py", source, place), tmp_path)
    proposals = run_tool("propose.py", "x.yaml", place, "--weights", "x.pth", "--data", source)
    assert_refused(proposals, tmp_path)


def test_a_target_that_exists_or_whose_partial_exists_stays(shapes, tmp_path):
    source, target = shapes / "annotations" / "val.json", tmp_path / "x.json"
    partial = tmp_path / "x.json.partial"
    partial.write_text("mine")
    assert_clear_error(run_tool("convert.py", source, target), "x.json.partial", "remove that file")
    assert partial.read_text() == "mine" and not target.exists()
    partial.unlink()
    assert run_tool("convert.py", source, target).returncode == 0
    before = target.read_text()
    assert_clear_error(run_tool("convert.py", source, target), "the file exists")
    assert target.read_text() == before


def test_a_config_of_the_user_is_not_replaced(shapes, tmp_path):
    mine = tmp_path / "run" / "config.yaml"
    mine.parent.mkdir()
    mine.write_text("SEED: 5\n")
    done = pretrain("--data", shapes / "crops", "--config-file", mine, *RUN, "OUTPUT_DIR", mine.parent)
    assert_clear_error(done, "config.yaml was not written by a run")
    assert mine.read_text() == "SEED: 5\n" and sorted(p.name for p in mine.parent.iterdir()) == ["config.yaml"]


def test_a_refused_run_leaves_no_folder(shapes, tmp_path):
    done = pretrain("--data", shapes / "crops", *RUN, "SOLVER.MOMENTUM", -1, "OUTPUT_DIR", tmp_path / "run" / "a")
    assert_clear_error(done, "SOLVER.MOMENTUM: -1.0")
    assert not (tmp_path / "run" / "a").exists()
