"""What a run is known by: another config, weights, data or code are noticed; place, device and workers are not."""

import json
import subprocess
import sys

from backbones.errors import InputError
from backbones.weights.read import Weights
from detection.config import default_config
from residet.fingerprint import FILE, check_fingerprint, fingerprint, read_run, write_run
from residet.plan import RunPlan
from residet.sweep import finish

import pytest
import torch


def plan(folder, *pairs, value=1.0, data="d1", **more):
    cfg = default_config()
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list(["MODEL.WEIGHTS", "w.pth", *pairs])
    weights = Weights(path="w.pth", state={"a": torch.full((2, 2), value), "b": torch.tensor(3)})
    return RunPlan(cfg, weights=weights, data=lambda: {"DATASETS.TEST": ("val", data)}, **more)


@pytest.fixture
def run(tmp_path):
    write_run(plan(tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pairs": ["SOLVER.MAX_ITER", 7]}, "SOLVER.MAX_ITER was 40000, now 7"),
        ({"pairs": ["INPUT.ALBUMENTATIONS", [{"VerticalFlip": {"p": 0.5}}]]}, "INPUT.ALBUMENTATIONS was"),
        ({"value": 1.0000001}, r"MODEL.WEIGHTS was w.pth \(content \w{12}…\), now w.pth \(content"),
        ({"data": "d2"}, r"DATASETS.TEST was val \(content d1…\), now val \(content d2…\)"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(run, tmp_path, changed, words):
    other = fingerprint(plan(tmp_path, *changed.pop("pairs", ()), **changed))
    with pytest.raises(InputError, match=words) as error:
        check_fingerprint(run, other)
    assert "another --output" in str(error.value)


def test_the_same_run_elsewhere_is_taken(run, tmp_path):
    pairs = ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, "TEST.PICTURES", 0, "MODEL.WEIGHTS", "elsewhere/w.pth"]
    check_fingerprint(run, fingerprint(plan(tmp_path / "other", *pairs)))


def test_another_version_and_random_weights_are_differences(run, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9")
    with pytest.raises(InputError, match=r"residet was .*, now 9"):
        check_fingerprint(run, fingerprint(plan(tmp_path)))
    monkeypatch.undo()
    random = plan(tmp_path)
    random.weights = None
    with pytest.raises(InputError, match=r"MODEL.WEIGHTS was w.pth .*, now none"):
        check_fingerprint(run, fingerprint(random))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fingerprint": {"config": 3}}', "[" * 100_000])
def test_a_folder_without_a_readable_run_json_is_refused(run, tmp_path, content):
    (run / FILE).write_text(content)
    assert read_run(run) is None
    with pytest.raises(InputError, match=r"without a readable run.json.*another --output"):
        check_fingerprint(run, fingerprint(plan(tmp_path)))


def test_a_resumed_run_keeps_the_weights_that_it_began_with(run):
    began = json.loads((run / FILE).read_text())
    write_run(plan(run, value=5.0, resume=True))
    assert json.loads((run / FILE).read_text())["fingerprint"] == began["fingerprint"]


@pytest.mark.parametrize("names", [("metrics.json", "config.yaml"), ("phase/metrics.json", "phase/config.yaml")])
def test_files_of_a_folder_that_no_run_has_marked_stay(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    try:
        finish(lambda flags: ["true"], tmp_path, None)
    except InputError as e:
        assert "metrics.json" in str(e) and "another --output" in str(e)
    assert all((tmp_path / name).read_text() == "mine" for name in (*names, "notes.txt"))


def test_the_metrics_of_a_run_of_ours_are_forgotten(run):
    phases = plan(run, "PHASES", [{"name": "rpn"}])
    write_run(phases)
    for folder in (run, run / "rpn", run / "mine"):
        folder.mkdir(exist_ok=True)
        (folder / "metrics.json").write_text("{}")
    assert not finish(lambda flags: ["true"] if not flags else ["false"], run, None)
    assert [p.parent.name for p in run.rglob("metrics.json")] == ["mine"]


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_metrics_of_a_run_that_another_process_trains_stay(run):
    (run / "metrics.json").write_text("{}")
    command = [sys.executable, "-c", HOLDER, str(run / "run.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is writing there"):
            finish(lambda flags: ["true"], run, None)
        holder.stdin.close()
    assert (run / "metrics.json").read_text() == "{}"
