"""tools/reproduce.py: a list of networks within a time, resumed, beside the papers' errors."""

import json
import subprocess
import time
from pathlib import Path

from backbones.errors import InputError
from classification.papers.published import CIFAR10, tables
from classification.papers.reproduce import SELECTIONS, entries, summary

import pytest
from forked_ranks import fork_tools
from PIL import Image
from run_tools import run_tool


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder with CIFAR-10's classes."""
    root = tmp_path_factory.mktemp("cifar")
    for split in ("train", "test"):
        for k, name in enumerate(sorted(CIFAR10)):
            (root / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (32, 32), (25 * k, 100 * i, 0)).save(root / split / name / f"{i}.png")
    return root


def reproduce(*args):
    return run_tool("reproduce.py", *args)


def test_lists_name_tables_and_networks():
    todo = entries(["resnet_cifar10:cifar_resnet20", "wrn_svhn"])
    assert [e.arch for e in todo] == ["cifar_resnet20", *tables()["wrn_svhn"].error]
    for selection in SELECTIONS:
        assert len(entries([selection])) == len(SELECTIONS[selection])
    with pytest.raises(InputError, match="wrn_x: no such table; there are cifar10, resnet_10crop"):
        entries(["wrn_x"])
    with pytest.raises(InputError, match="resnet_cifar10:resnet50: resnet_cifar10 has no such network"):
        entries(["resnet_cifar10:resnet50"])


def test_seeds_are_summed_up_as_the_paper_does(tmp_path):
    names = [
        "resnet_cifar10:cifar_resnet110",
        "wrn_cifar10:cifar_wrn16_8",
        "resnext_sweep_cifar10:cifar_resnext29_2x64d",
    ]
    todo = entries(names, [0, 1, 2])
    assert [(e.arch, e.seed) for e in todo[:4]] == [
        *((arch.split(":")[1], 0) for arch in names),
        ("cifar_resnet110", 1),
    ]
    assert len({e.folder(tmp_path) for e in todo}) == 9
    for entry in todo:
        entry.results(tmp_path).parent.mkdir(parents=True)
        error = {0: 7.0, 1: 6.4, 2: 8.0}[entry.seed]
        entry.results(tmp_path).write_text(json.dumps({"top1_error": error, "top5_error": 0.5}))
    heads, _, best, median, mean = (line.split() for line in summary(todo, tmp_path).splitlines())
    assert heads == ["table", "network", "statistic", "runs", "mean", "std", "top-1", "%", "paper's"]
    assert best[2:] == ["best", "of", "5,", "6.61", "±", "0.16", "3", "7.13", "0.81", "6.40", "6.43"]
    assert median[2:] == ["median", "of", "5", "3", "7.13", "0.81", "7.00", "4.27"]
    assert mean[2:] == ["mean", "of", "10", "3", "7.13", "0.81", "7.13", "-"]


def test_tables_that_test_alike_networks_share_their_training():
    ten, dense = entries(["resnet_10crop:resnet50_caffe", "resnet_dense:resnet50_caffe"])
    assert ten.folder(Path("o")) == dense.folder(Path("o")) and ten.results(Path("o")) != dense.results(Path("o"))


@pytest.mark.slow
def test_runs_are_trained_resumed_and_summed_up(cifar, tmp_path, monkeypatch):
    fork_tools(monkeypatch, tmp_path / "printed")
    short = ["--set", "CLASSIFICATION.SCHEDULE_SCALE", "0.0001", "SOLVER.IMS_PER_BATCH", "10", "MODEL.DEVICE", "cpu"]
    short += ["DATALOADER.NUM_WORKERS", "0"]
    args = ["resnet_cifar10:cifar_resnet20", "wrn_cifar10:cifar_wrn16_4", "--data", cifar, "--output", tmp_path]
    none = reproduce(*args, "--minutes", "1e-9", *short)
    assert none.returncode == 0 and "cifar_wrn16_4" in none.stdout and not list(tmp_path.rglob("*.pth"))
    done = reproduce(*args, *short)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("resnet_cifar10", "wrn_cifar10"))]
    ours = json.loads((tmp_path / "cifar10" / "cifar_resnet" / "cifar_resnet20" / "results.json").read_text())
    assert rows[-2] == ["resnet_cifar10", "cifar_resnet20", f"{ours['top1_error']:.2f}", "8.75"]
    assert rows[-1][-1] == "5.02"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = reproduce(*args, *short)  # nothing is left to do
    assert again.returncode == 0 and again.stdout.splitlines()[-2:] == done.stdout.splitlines()[-2:]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert summary(entries(args[:1]), tmp_path).splitlines()[0].split()[:2] == ["table", "network"]


def time_is_up_after(metrics, monkeypatch):
    """To whoever waits for a process with a time limit, the limit is over once the process has written metrics."""
    whole = subprocess.Popen.wait

    def wait(process, timeout=None):
        before = metrics.stat().st_size if metrics.is_file() else 0
        while timeout is not None and process.poll() is None:
            if metrics.is_file() and metrics.stat().st_size > before:
                raise subprocess.TimeoutExpired(process.args, timeout)
            time.sleep(0.05)
        return whole(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)


@pytest.mark.slow
def test_a_run_that_time_cuts_short_is_gone_on_with(cifar, tmp_path, monkeypatch):
    args = ["resnet_cifar10:cifar_resnet20", "--data", cifar, "--output", tmp_path, "--minutes", 60, "--set"]
    args += ["SOLVER.IMS_PER_BATCH", "10", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
    folder = tmp_path / "cifar10" / "cifar_resnet" / "cifar_resnet20"
    fork_tools(monkeypatch, tmp_path / "printed")
    time_is_up_after(folder / "metrics.json", monkeypatch)
    for count in (1, 2):
        done = reproduce(*args)
        assert done.returncode == 0, done.stderr
        log = (folder / "log.txt").read_text()
        assert (folder / "last_checkpoint").is_file() and log.count("stopped by SIGTERM") == count
        assert log.count("resumed at iteration") == count - 1


def test_a_failing_run_is_named(tmp_path):
    """In a process of its own, as a user's runs are."""
    done = reproduce("resnet_cifar10:cifar_resnet20", "--data", tmp_path / "none", "--output", tmp_path)
    # pretrain.py itself has printed the error.
    assert done.returncode == 2 and "error: " not in done.stderr, done.stderr
    assert "pretrain.py" in done.stderr and "failed with exit code 2; its message is above" in done.stderr


def test_the_tables_are_listed():
    done = reproduce("--list")
    assert done.returncode == 0 and "resnext_5k_1kway" in done.stdout and "ResNet, Table 4" in done.stdout
