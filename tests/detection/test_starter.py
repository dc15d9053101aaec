"""`residet new`: the config that it writes is the one that a run on the data would have made for itself."""

import shutil

from detection.config import default_config
from detection.data.layouts.sources import data_splits
from detection.prepare import prepare
from residet.config import merge_config

import pytest
import yaml
from run_tools import assert_clear_error, run_tool, train_net

OPTIONS = ["MODEL.BACKBONE.FREEZE_AT", "0", "MODEL.RESNETS.NORM", "GN"]


def prepared(config, data=None, network=None):
    cfg = default_config()
    merge_config(cfg, config, ["OUTPUT_DIR", "run", "MODEL.DEVICE", "cpu", *OPTIONS])
    if network:
        cfg.MODEL.BACKBONE.NAME = network
    if data:
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ((name,) for name in data_splits(str(data)))
    return prepare(cfg, eval_only=False, schedule_batch_size=cfg.SOLVER.IMS_PER_BATCH if data else 0).cfg


@pytest.mark.parametrize(
    ("options", "base", "network"),
    [
        ([], "faster_rcnn_resnet50_fpn", None),
        (["--arch", "wrn34_2"], "faster_rcnn_resnet50_fpn", "build_wrn34_2_fpn_backbone"),
        (["--config-file", "faster_rcnn_resnet50", "--arch", "wrn34_2"], "faster_rcnn_wrn34_2", None),
    ],
)
def test_the_config_is_what_a_run_would_choose(shapes, tmp_path, options, base, network):
    data = tmp_path / "my shapes ä"
    shutil.copytree(shapes, data)
    file = tmp_path / "shapes.yaml"
    done = run_tool("new_config.py", data, "--output", file, *options)
    assert done.returncode == 0, done.stderr
    assert "16 images" in done.stdout and "scaled to the data: " in done.stdout
    assert prepared(str(file)) == prepared(base, data, network)
    content = yaml.safe_load(file.read_text())
    assert content["OUTPUT_DIR"] == "output/shapes"
    assert content["DATASETS"]["CLASSES"] == ["cross", "disk", "square", "star", "triangle"]


def test_a_network_with_other_heads_brings_them(shapes, tmp_path):
    file = tmp_path / "vgg.yaml"
    args = [shapes, "--output", file, "--config-file", "faster_rcnn_resnet50", "--arch", "vgg16"]
    assert run_tool("new_config.py", *args).returncode == 0
    ours, theirs = default_config(), default_config()
    merge_config(ours, str(file), [])
    merge_config(theirs, "faster_rcnn_vgg16", [])
    for group in ("RESNETS", "ROI_HEADS", "ROI_BOX_HEAD", "RPN", "BACKBONE"):
        assert ours.MODEL[group] == theirs.MODEL[group]


def test_data_without_test_data_are_split_by_the_run(shapes, tmp_path):
    data, file = tmp_path / "whole", tmp_path / "c.yaml"
    shutil.copytree(shapes / "images" / "train", data)
    shutil.copy(shapes / "annotations" / "train.json", data / "labels.json")
    done = run_tool("new_config.py", data, "--output", file)
    assert done.returncode == 0, done.stderr
    assert "a run tests on 20% of the images" in done.stdout and "warning" not in done.stdout
    assert done.stdout.rstrip().endswith(f"residet train --config-file {file} --weights auto")
    assert yaml.safe_load(file.read_text())["DATASETS"]["TEST"] == []
    tiny = ["SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_ITERS", 0, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", "(32,)"]
    tiny += ["INPUT.MIN_SIZE_TEST", 32, "TEST.PICTURES", 0, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", tmp_path / "run"]
    args = ["--config-file", file, "--from-scratch", "--arch", "resnet18", *tiny]
    done = train_net(*args)
    assert done.returncode == 0 and "are for the test, the others for training" in done.stdout, done.stderr


def test_a_file_that_exists_stays(shapes, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("mine")
    assert_clear_error(run_tool("new_config.py", shapes, "--output", file), "--output", "c.yaml exists")
    assert file.read_text() == "mine"
