"""A folder of data as its owner left it goes through the tools: read, or refused with what to do."""

import importlib
import json

import pytest
from detection_configs import load_config
from layouts import SAMPLES, image, roboflow_coco, snapshot, text, voc_standard, xml_and_images, xml_beside
from run_tools import PROJECT, assert_clear_error, run_tool

TINY = "configs/faster_rcnn_resnet18_fpn.yaml"


def test_a_folder_of_labelimg_is_inspected(tmp_path):
    data, out = tmp_path / "raccoons", tmp_path / "out"
    xml_beside(data)
    before = snapshot(data)
    done = run_tool("inspect_data.py", data, "--samples", 2, "--output", out)
    assert done.returncode == 0, done.stderr
    assert f"read as voc: {data}:all\n" in done.stdout and "5 images, 11 boxes" in done.stdout
    report = json.loads((out / "inspect.json").read_text())[f"{data}:all"]
    assert {c: v["boxes"] for c, v in report["classes"].items()} == {"cat": 4, "cow": 3, "dog": 4}
    assert snapshot(data) == before


def test_a_run_says_what_it_took_the_folder_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "tools"))
    train_net = importlib.import_module("train_net")
    data = tmp_path / "roboflow"
    roboflow_coco(data)
    next(data.rglob("b.v2.jpg")).unlink()
    before = snapshot(data)
    args = ["--config-file", TINY, "--data", data, "--from-scratch"]
    options = ["OUTPUT_DIR", tmp_path / "run", "MODEL.DEVICE", "cpu"]
    assert_clear_error(run_tool("train_net.py", *args, *options), "1 of 3 images are absent", "--skip-missing")
    plan = train_net.setup(train_net.parse([*map(str, [*args, "--skip-missing", *options])]))
    said = "\n".join(map(str, plan.lines))
    assert f"read as coco: {data}/train/_annotations.coco.json, {data}/test/_annotations.coco.json" in said
    assert "2 images, 4 boxes (cat 2, dog 2, cow 0)" in said and "images whose file is absent, left out" in said
    assert plan.cfg.DATASETS.SKIP_MISSING and snapshot(data) == before


@pytest.mark.parametrize("tool", ["train_net.py", "inspect_data.py"])
def test_both_tools_refuse_alike(tmp_path, tool):
    data = tmp_path / "data"
    args = ["--config-file", TINY, "--data"] if tool == "train_net.py" else ["--output", tmp_path / "out"]
    voc_standard(data)
    roboflow_coco(data)
    assert_clear_error(run_tool(tool, *args, data), "can be read in 2 ways", "--format voc", "--format coco")
    assert_clear_error(run_tool(tool, *args, data, "--format", "vok"), "'vok' is none of", "voc, ")
    for path in [*data.rglob("*.xml"), *data.rglob("*.json")]:
        path.unlink()
    text(data / "Annotations" / "list.json", '{"a 1.jpg": {"boxes": [[1, 2, 3, 4]]}}')
    assert_clear_error(run_tool(tool, *args, data), "list.json: looks like annotations", "--format images")


def test_annotations_that_nobody_reads_are_no_images_to_predict_on(tmp_path):
    xml_and_images(tmp_path / "train")
    for s in SAMPLES:
        image(tmp_path / "val" / f"{s.name}.jpg", s)
        text(tmp_path / "val" / f"{s.name}.txt", "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12\n")
    args = ["--config-file", TINY, "--train", tmp_path / "train", "--val", tmp_path / "val"]
    assert_clear_error(run_tool("train_net.py", *args), "a 1.txt: looks like annotations", "voc: ", "yolo: ")


def test_a_config_for_a_folder_keeps_how_the_folder_is_read(tmp_path):
    data, file = tmp_path / "data", tmp_path / "mine.yaml"
    voc_standard(data)
    roboflow_coco(data)
    next((data / "train").glob("b.v2.jpg")).unlink()
    args = ["new_config.py", data, "--config-file", TINY, "--output", file]
    assert_clear_error(run_tool(*args), "choose with --format voc")
    done = run_tool(*args, "--format", "coco", "--skip-missing")
    assert done.returncode == 0, done.stderr
    cfg = load_config(file)
    assert (cfg.DATASETS.FORMAT, cfg.DATASETS.SKIP_MISSING) == ("coco", True)
    assert [*cfg.DATASETS.TRAIN] == [f"{data}/train/_annotations.coco.json"]
