"""The commands of the pages that a newcomer follows, one after the other, on the demo's data, tiny."""

import json
import shutil
import subprocess
import sys

import backbones
from backbones.weights.files import save_checkpoint
from detection.data.synthetic import CLASSES

from documented_commands import commands_in
from PIL import Image
from run_tools import PROJECT, run_tool

# A training of seconds. The demo itself is tests/tools/test_demo.py's.
SHORT = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_ITERS", 0, "DATALOADER.NUM_WORKERS", 0]
SHORT += ["INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 96, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
TOOLS = {"train": "train_net", "inspect": "inspect_data"}


def walk(page, folder, names):
    """Runs the commands of a page within a folder, and returns the texts on stdout by command.

    Args:
        page: name of the page.
        folder: the folder that stands for the user's.
        names: beginnings of paths on the page that are the user's, such as "output/".
    """
    printed = {}
    for command in commands_in(PROJECT / "docs" / page):
        words = [str(folder / word) if word.startswith(names) else word for word in command.words()]
        if command.inline or words[:2] == ["residet", "demo"]:
            continue
        if words[0] == "residet":
            name = TOOLS.get(words[1], words[1])
            done = run_tool(f"{name}.py", *words[2:], *(SHORT if name == "train_net" else []))
        else:
            program = [sys.executable, *words[1:]] if words[0] == "python" else ["sh", "-c", " ".join(words)]
            done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed[command.text] = done.stdout
    return printed


def test_the_quick_start(shapes, detector_run, tmp_path):
    demo = tmp_path / "output" / "demo"
    demo.mkdir(parents=True)
    (demo / "data").symlink_to(shapes)
    for name in ("pretrained", "random"):
        shutil.copytree(detector_run, demo / name)
        config = demo / name / "config.yaml"
        config.write_text(config.read_text().replace(str(detector_run), str(demo / name)))
    (demo / "pretrain").mkdir()
    network = backbones.create_network("resnet18", num_classes=5)
    pixels = {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4], "channel_order": "RGB", "input_size": 64}
    save_checkpoint(
        {"model": network.state_dict(), "arch": "resnet18", **pixels}, demo / "pretrain" / "model_final.pth"
    )
    printed = walk("quickstart.md", tmp_path, ("output/",))
    assert len(printed) == 8
    assert {line.split()[0] for line in printed.popitem()[1].splitlines()} <= {*CLASSES}  # of run_onnx.py
    assert (tmp_path / "output" / "compare" / "comparison.md").is_file()
    assert len((tmp_path / "output" / "found" / "done.jsonl").read_text().splitlines()) == 6


def test_your_own_data(shapes, tmp_path):
    """A folder as LabelImg leaves it: images, and an XML file beside each."""
    bccd = tmp_path / "BCCD"
    for part in ("JPEGImages", "Annotations"):
        (bccd / part).mkdir(parents=True)
    content = json.loads((shapes / "annotations" / "train.json").read_text())
    for image in content["images"]:
        name = f"BloodImage_{image['id']:05d}"
        Image.open(shapes / "annotations" / image["file_name"]).save(bccd / "JPEGImages" / f"{name}.jpg")
        boxes = [(a["bbox"], a["category_id"]) for a in content["annotations"] if a["image_id"] == image["id"]]
        objects = "".join(
            f"<object><name>{CLASSES[kind]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for (x, y, w, h), kind in boxes
        )
        size = "<size><width>128</width><height>128</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
        (bccd / "Annotations" / f"{name}.xml").write_text(text)
    printed = walk("own_data.md", tmp_path, ("output/", "cells", "BCCD/"))
    assert len(printed) == 5
    assert (tmp_path / "output" / "cells" / "splits" / "val.split.json").is_file()
