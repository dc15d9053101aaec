"""The arguments of the tools: answered before anything heavy is imported, with the nearest name for a wrong one."""

import importlib.util
import os
import subprocess
import sys

import pytest
from run_tools import PROJECT, assert_clear_error, pretrain, run_tool, train_net

TOOLS = sorted(path.stem for path in (PROJECT / "tools").glob("*.py"))
HEAVY = ("torch", "torchvision", "detectron2", "numpy", "albumentations", "matplotlib", "pycocotools")
DRIVER = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as e:
    print("exit code", e.code)
print("heavy:", sorted(set(sys.modules) & set(%r)))
"""


def without_imports(tool, *args):
    """What a tool prints, after it has been seen to import nothing heavy."""
    command = [sys.executable, "-c", DRIVER % (HEAVY,), str(PROJECT / "tools" / f"{tool}.py"), *args]
    path = f"{PROJECT / 'tools'}{os.pathsep}{PROJECT}"  # Python puts the folder of a script first
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path, "COLUMNS": "120"}
    )
    assert "heavy: []" in done.stdout, done.stdout.splitlines()[-1]
    return done.stdout + done.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_help_and_a_wrong_argument_import_nothing_heavy(tool):
    text = without_imports(tool, "--help")
    assert "exit code 0" in text and "usage:" in text
    text = without_imports(tool, "--no-such-argument")
    assert "exit code 2" in text and text.count("error: ") == 1


def test_help_has_groups_defaults_and_examples():
    text = without_imports("train_net", "--help")
    groups = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert groups[-4:] == ["data", "network and weights", "run", "machines"]
    assert "number of machines; default 1" in text and "tools/train_net.py --config-file configs/" in text
    assert "LazyConfig" not in text


def test_the_command_knows_every_tool():
    text = without_imports("command", "--help")
    listed = text.split("tools:\n")[1].split("exit code")[0].splitlines()
    assert len(listed) == len(TOOLS) - 1 and all(line.rstrip().endswith(".") for line in listed)
    assert "residet inspect DIR:train" in without_imports("command", "inspect", "--help")


@pytest.mark.parametrize(
    ("tool", "args", "words"),
    [
        ("train_net", ["--wieghts", "x.pth"], ["--wieghts", "did you mean --weights?"]),
        ("train_net", ["--dta=x"], ["--dta=x", "did you mean --data?"]),
        ("train_net", ["--freeze", "some"], ["--freeze", "'some' is no whole number of 0 or more"]),
        ("export", ["a.pth", "--to", "tim", "--output", "b.pth"], ["--to", "'tim'", "did you mean timm?"]),
        ("complexity", ["--format", "gihub"], ["--format", "did you mean github?"]),
        ("compare", [], ["required", "config"]),
        ("command", ["tran"], ["'tran'", "did you mean train?"]),
        ("command", [], ["required", "TOOL"]),
    ],
)
def test_a_wrong_argument_names_the_nearest(tool, args, words):
    done = run_tool(f"{tool}.py", *args)
    assert_clear_error(done, *words)
    assert "--help" in done.stderr


def test_options_may_follow_keys(tmp_path):
    done = train_net("SOLVER.BASELR", "1", "--config-file", "bccd/resnet18_fpn")
    assert_clear_error(done, "SOLVER.BASELR", "did you mean SOLVER.BASE_LR?")


def test_a_key_that_does_not_exist_names_the_nearest(shapes):
    done = pretrain("--data", shapes / "crops", "CLASSIFICATION.EPOCH", "1")
    assert_clear_error(done, "CLASSIFICATION.EPOCH", "did you mean CLASSIFICATION.EPOCHS?")


def test_a_checkout_has_the_command_without_an_installation(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "residet", "complexity", "resnet18", "--format", "github"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| resnet18" in done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("argcomplete"), reason="argcomplete is an optional dependency")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("residet pret", ["pretrain"]),
        ("residet train --eva", ["--eval-only"]),
        ("residet export --to ti", ["timm"]),
        ("residet train --config-file bccd/resnet18", ["bccd/resnet18_fpn"]),
    ],
)
def test_a_shell_completes_the_command(tmp_path, line, found):
    answer = tmp_path / "answer"
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    variables |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    command = [sys.executable, str(PROJECT / "tools" / "command.py")]
    subprocess.run(command, env=os.environ | variables | {"PYTHONPATH": str(PROJECT)}, check=True)
    assert sorted(answer.read_text().split("\n")) == sorted(found)
