"""The demo, all of its way on few images and for few steps."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from run_tools import PROJECT, assert_clear_error, run_tool

# At 16 px the last stage would get maps of 1 x 1, for which PyTorch 2.14's bfloat16 gradients on CPUs are not finite.
SHORT = {
    "pretrain_resnet18.yaml": "CLASSIFICATION: {EPOCHS: 6, SIZE: 32, RESIZE: 32}",
    "faster_rcnn_resnet18_fpn.yaml": "SOLVER: {MAX_ITER: 3, IMS_PER_BATCH: 2}\nINPUT: {MIN_SIZE_TRAIN: [64]}",
}
DRIVER = """
import sys
sys.path.insert(0, "tools")
import demo
from pathlib import Path
demo.CONFIGS, demo.TRAIN_IMAGES, demo.TEST_IMAGES = Path(sys.argv[1]), 24, 12
sys.exit(demo.main(["--output", *sys.argv[2:]]))
"""


@pytest.fixture
def start(tmp_path):
    """*arguments -> the short demo's process; its output folder is tmp_path / "demo"."""
    for name, change in SHORT.items():
        (tmp_path / name).write_text(f"_BASE_: {PROJECT / 'configs' / 'demo' / name}\n{change}\n")

    def start(*args):
        command = [sys.executable, "-c", DRIVER, str(tmp_path), str(tmp_path / "demo"), *args]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def stop(process, reached):
    """SIGTERM as soon as `reached()`. Returns what the process wrote."""
    while not reached():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.terminate()
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "Traceback" not in stderr and "error" not in stderr, stderr
    assert (stdout + stderr).count("stopped by SIGTERM") == (stdout + stderr).count("go on with: ") == 1
    return stdout


@pytest.mark.slow
def test_the_demo_goes_on_after_sigterm_and_compares(start, tmp_path):
    out = tmp_path / "demo"
    log = out / "pretrain" / "log.txt"
    stdout = stop(start(), lambda: log.is_file() and "Starting training" in log.read_text())
    assert "0/3 draw 24 training and 12 held-out images" in stdout and "minutes in all on this machine" in stdout

    process = start("--resume")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert f"loaded {out / 'pretrain' / 'model_final.pth'}: 100 of " in stdout
    precision = json.loads((out / "machine.json").read_text())["precision"]  # found out before the demo was stopped
    assert f"precision:  {precision or 'float32'}" in stdout and "minutes in all on this machine" not in stdout
    results = json.loads((out / "results.json").read_text())
    assert list(results) == ["pretrained", "random"]
    assert {"AP", "AP50", "AP star"} <= set(results["random"])
    assert list((out / "pretrained" / "pictures").glob("*.png"))
    assert "0/3" not in stdout and "| pretrained |" in stdout and "residet train --config-file" in stdout
    page = (out / "report.html").read_text()
    assert "2 detectors side by side" in page and 'id="differences"' in page and 'id="pictures"' in page


def test_sigterm_between_two_trainings_is_one_message(start, tmp_path):
    stop(start(), (tmp_path / "demo" / "data").is_dir)


def test_the_demo_writes_over_nothing(tmp_path):
    assert_clear_error(run_tool("demo.py", "--output", tmp_path), "remove it or name another folder")
