"""What the tools refuse before any work: arguments, files in the way, weights that are none, one message for each."""

import os
import shutil
import subprocess
import sys
import warnings

from backbones.api import create_network
from residet.cli.exits import exit_code
from residet.output import lock_folder, release_locks

import pytest
import torch
from run_tools import PROJECT, assert_clear_error, run_tool

DETECTOR = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
NUMBERS = ["nan", "-1", "1e999", "1.5.1", "", "٣x", "9" * 5000]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("tool", "arguments", "options"),
    [
        ("predict.py", ["model.pth", "a.jpg"], ["--score", "--tiles", "--frames", "--batch"]),
        ("inspect_data.py", ["data"], ["--samples", "--augmented"]),
        ("compare.py", ["bccd/fpn"], ["--seeds", "--minutes", "--processes"]),
        ("reproduce.py", ["cifar10"], ["--seeds", "--minutes", "--processes", "--steps", "--batch", "--iterations"]),
        ("train_net.py", [], ["--freeze", "--num-gpus", "--num-machines", "--machine-rank"]),
        ("demo.py", [], ["--seed"]),
    ],
)
def test_a_number_that_an_option_does_not_take(tool, arguments, options, number):
    for option in options:
        assert_clear_error(run_tool(tool, *arguments, f"{option}={number}"), option)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--machine-rank", 1], "--machine-rank: 1"),
        (["--num-machines", 2], "--dist-url: 'auto'"),
        (["--num-machines", 2, "--dist-url", "tcp://host:99999999"], "--dist-url"),
        (["--num-machines", 2, "--dist-url", "http://host:1"], "--dist-url"),
    ],
)
def test_machines_that_cannot_find_one_another(arguments, words):
    assert_clear_error(run_tool("train_net.py", *arguments), words)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    file = tmp_path_factory.mktemp("classifier") / "resnet18.pth"
    state = create_network("resnet18", num_classes=3).state_dict()
    torch.save({"model": state, "task": "classification", "arch": "resnet18"}, file)
    return file


@pytest.mark.parametrize("to", ["residet", "torchvision", "timm", "detectron2"])
def test_an_export_writes_over_nothing(classifier, tmp_path, to):
    taken = tmp_path / "taken.pth"
    taken.write_bytes(b"mine")
    before = classifier.read_bytes()
    for output in (taken, classifier):
        assert_clear_error(run_tool("export.py", classifier, "--to", to, "--output", output), "the file exists")
    assert taken.read_bytes() == b"mine" and classifier.read_bytes() == before


def test_a_classifier_detects_nothing(classifier, shapes, tmp_path):
    predict = ["predict.py", classifier, shapes / "images" / "val", "--config-file", DETECTOR, "--output", tmp_path]
    assert_clear_error(run_tool(*predict), "resnet18.pth", "no trained detector")
    export = ["--to", "onnx", "--config-file", DETECTOR, "--images", shapes / "images" / "val"]
    done = run_tool("export.py", classifier, *export, "--output", tmp_path / "x.onnx")
    assert_clear_error(done, "resnet18.pth", "no trained detector")


@pytest.mark.parametrize(
    "transform", ["{'ToTensorV2': {}}", "{'ToFloat': {}}", "{'RandomCrop': {'height': 9999, 'width': 9999, 'p': 1.0}}"]
)
def test_transforms_that_make_no_image(shapes, tmp_path, transform):
    source = [f"{shapes}:val", "--samples", 0, "--augmented", 2, "--output", tmp_path]
    done = run_tool("inspect_data.py", *source, "--set", "INPUT.ALBUMENTATIONS", f"[{transform}]")
    assert_clear_error(done, "INPUT.ALBUMENTATIONS", ".png")


def test_values_of_a_config_that_is_only_looked_at(shapes, tmp_path):
    done = run_tool("inspect_data.py", shapes, "--output", tmp_path, "--set", "INPUT.MIN_SIZE_TRAIN", "(0,)")
    assert_clear_error(done, "INPUT.MIN_SIZE_TRAIN")


def test_a_comparison_refuses_at_once_what_no_run_can_start_from(shapes, tmp_path):
    configs = [DETECTOR, "faster_rcnn_resnet50"]  # the first could start
    done = run_tool("compare.py", *configs, "--random", "--data", shapes, "--output", tmp_path / "out")
    assert_clear_error(done, "FREEZE_AT", "--from-scratch")
    assert not list((tmp_path / "out").glob("*/log.txt"))


def test_localisation_keeps_a_config_of_the_user(tmp_path, classifier):
    mine = tmp_path / "config.yaml"
    mine.write_text("SEED: 5\n")
    done = run_tool("localise.py", "--data", tmp_path, "--weights", classifier, "OUTPUT_DIR", tmp_path)
    assert_clear_error(done, "config.yaml was not written by a run")
    assert mine.read_text() == "SEED: 5\n"


HOLDER = """
import sys
import backbones
from residet.output import lock_folder
from pathlib import Path
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_demo_and_localisation_write_alone(tmp_path, classifier):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        demo = run_tool("demo.py", "--resume", "--output", tmp_path / "out")
        assert_clear_error(demo, "--output", f"process {holder.pid} on ", "is writing there")
        done = run_tool("localise.py", "--data", tmp_path, "--weights", classifier, "OUTPUT_DIR", tmp_path / "out")
        assert_clear_error(done, "OUTPUT_DIR", f"process {holder.pid} on ", "is writing there")
        holder.kill()


def test_a_lock_that_no_run_has_written_stays(tmp_path):
    mine = tmp_path / "run.lock"
    mine.write_text("mine")
    with pytest.raises(ValueError, match="was not written by a run"):
        lock_folder(tmp_path)
    release_locks()
    assert mine.read_text() == "mine"


def test_warnings_of_libraries_do_not_reach_the_console(capfd, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert exit_code(lambda: warnings.warn("from a library", UserWarning, stacklevel=1)) == 0
    assert capfd.readouterr() == ("", "")


def test_a_long_message_keeps_its_begin_and_its_end(shapes, tmp_path):
    done = run_tool("convert.py", "x" * 9000, tmp_path / "x.json")
    assert_clear_error(done, "xxx … xxx", "check this path")
    assert len(done.stderr) < 2000


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "nowhere", "pipe", "."])
def test_an_image_that_is_no_regular_file_is_not_waited_for(shapes, tmp_path, target):
    data = shutil.copytree(shapes / "crops", tmp_path / "data")
    os.mkfifo(tmp_path / "pipe")
    next((data / "train").iterdir()).joinpath("x.png").symlink_to(tmp_path / target)
    options = ["CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16, "DATALOADER.NUM_WORKERS", 0]
    done = run_tool("pretrain.py", "--data", data, "--scan", *options, "OUTPUT_DIR", tmp_path / "out")
    assert done.returncode == 2 and "x.png" in done.stdout + done.stderr and "Traceback" not in done.stderr
