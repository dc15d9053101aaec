"""The package that a user installs: built as sdist and wheel, it works in an empty folder without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from run_tools import LIMIT, PROJECT

SOURCES = ("backbones", "residet", "classification", "detection", "tools", "configs")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
# Every process of the fresh environment notes the files of the checkout that it opens, modules among them.
WATCH = f"""
import os, sys
def note(event, args):
    if event == "open" and isinstance(args[0], str) and os.path.abspath(args[0]).startswith({str(PROJECT)!r} + os.sep):
        if not os.path.abspath(args[0]).startswith({sysconfig.get_paths()["purelib"]!r} + os.sep):
            os.write(file, args[0].encode() + b"\\n")
file = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(note)
"""


def run(command, folder, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the programs of a fresh environment with the package, which was built by way of the sdist."""
    root = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        shutil.copytree(PROJECT / name, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(PROJECT / name, root / "source" / name)
    run([sys.executable, "-c", BUILD_SDIST, root / "dist"], root / "source")
    (sdist,) = (root / "dist").glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", root / "dist", sdist], root)
    (wheel,) = (root / "dist").glob("*.whl")
    shutil.rmtree(root / "source")
    venv.create(root / "env", with_pip=False)
    programs = root / "env" / "bin"
    run([*pip, "--python", programs / "python", "install", *offline, wheel], root)
    site = next((root / "env" / "lib").glob("python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # torch and detectron2, by path alone
    (site / "sitecustomize.py").write_text(WATCH)
    return programs


@pytest.mark.slow
def test_the_package_trains_from_an_empty_folder(installed, shapes, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    opened = {"OPENED": str(tmp_path / "opened.txt")}
    tiny = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "TEST.PICTURES", 0]
    tiny += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "SOLVER.BASE_LR", 1e-4]
    out = run(
        [installed / "residet", "compare", "demo/faster_rcnn_resnet18_fpn", "--data", shapes, "--set", *tiny],
        empty,
        **opened,
    )
    assert "| faster_rcnn_resnet18_fpn" in out and "95 % intervals" in out
    folder = empty / "output" / "compare" / "faster_rcnn_resnet18_fpn_random_0"
    assert json.loads((folder / "results.json").read_text()) and (folder / "model_final.pth").is_file()
    assert "all is well" in run([installed / "python", "-m", "residet", "doctor"], empty, **opened)
    assert "resnext_imagenet" in run([installed / "residet", "reproduce", "--list"], empty, **opened)
    size = ["CLASSIFICATION.SIZE", 32, "CLASSIFICATION.RESIZE", 32, "CLASSIFICATION.EPOCHS", 1]
    run(
        [installed / "residet", "pretrain", "--arch", "cifar_resnet20", "--data", shapes / "crops", *size],
        empty,
        **opened,
    )
    assert (empty / "output" / "imagenet" / "model_final.pth").is_file()
    assert (tmp_path / "opened.txt").read_text() == ""


def test_the_package_has_every_tool_and_config(installed):
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    for folder, package, pattern in (("tools", "residet_tools", "*.py"), ("configs", "residet_configs", "*.yaml")):
        ours = {path.relative_to(PROJECT / folder) for path in (PROJECT / folder).rglob(pattern)}
        assert ours == {path.relative_to(site / package) for path in (site / package).rglob(pattern)}
