"""The demo, all of its way on few images and for few steps."""

import json
import os
import subprocess
import sys

import pytest
from run_tools import PROJECT, assert_clear_error, run_tool

SHORT = {
    "pretrain_resnet18.yaml": "CLASSIFICATION: {EPOCHS: 1}",
    "faster_rcnn_resnet18_fpn.yaml": "SOLVER: {MAX_ITER: 3}",
}
DRIVER = """
import sys
sys.path.insert(0, "tools")
import demo
from pathlib import Path
demo.CONFIGS, demo.TRAIN_IMAGES, demo.TEST_IMAGES = Path(sys.argv[1]), 24, 6
sys.exit(demo.main(["--output", sys.argv[2]]))
"""


@pytest.mark.slow
def test_the_demo_pretrains_transfers_and_compares(tmp_path):
    for name, change in SHORT.items():
        (tmp_path / name).write_text(f"_BASE_: {PROJECT / 'configs' / 'demo' / name}\n{change}\n")
    out = tmp_path / "demo"
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(out)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"loaded {out / 'pretrain' / 'model_final.pth'}: 100 of " in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert list(results) == ["pretrained", "random"]
    assert {"AP", "AP50", "AP star"} <= set(results["random"])
    assert list((out / "pretrained" / "pictures").glob("*.png"))
    assert "| pretrained |" in done.stdout and "minutes in all" in done.stdout


def test_the_demo_writes_over_nothing(tmp_path):
    assert_clear_error(run_tool("demo.py", "--output", tmp_path), "remove it or name another folder")
