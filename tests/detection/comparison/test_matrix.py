"""Networks side by side: one command for all runs, stopped by the clock and gone on with."""

import json
import sys

from backbones.errors import InputError
from detection.comparison.matrix import RANDOM, check_runs, compare, groups, runs

import pytest
from forked_ranks import fork_tools
from run_tools import PROJECT, assert_clear_error, run_tool

CONFIGS = [str(PROJECT / "configs" / "bccd" / f"{n}_fpn.yaml") for n in ("resnet50", "wrn34_2")]


def test_every_config_start_and_seed_is_a_run(tmp_path):
    for arch in ("resnet50", "wrn34_2"):
        (tmp_path / f"{arch}.pth").touch()
    todo = runs(CONFIGS, [str(tmp_path / "{arch}.pth"), RANDOM], [0, 1])
    assert [(r.arch, r.start == RANDOM, r.seed) for r in todo[:4]] == [
        ("resnet50", False, 0),
        ("resnet50", True, 0),
        ("wrn34_2", False, 0),
        ("wrn34_2", True, 0),
    ]
    assert len({r.folder(tmp_path) for r in todo}) == 8
    with pytest.raises(InputError, match=r"none/wrn34_2\.pth is missing; pretrain wrn34_2 with"):
        runs(CONFIGS[1:], [str(tmp_path / "none" / "{arch}.pth")], [0])


def test_configs_of_one_name_are_refused(tmp_path):
    (tmp_path / "resnet50_fpn.yaml").write_text(f"_BASE_: {CONFIGS[0]}\n")
    with pytest.raises(InputError, match="two runs would share this folder"):
        runs([CONFIGS[0], str(tmp_path / "resnet50_fpn.yaml")], [RANDOM], [0])


def test_networks_take_the_place_of_the_configs_own(tmp_path):
    todo = runs(CONFIGS[:1], [RANDOM], [0], ["wrn34_2", "resnet18"])
    assert [(r.arch, r.put) for r in todo] == [("wrn34_2", True), ("resnet18", True)]
    assert todo[0].arguments(["--data", "D", "X", "1"], tmp_path, ["--resume"])[2:] == [
        *("--arch", "wrn34_2", "--resume", "--data", "D", "X", "1", "OUTPUT_DIR", str(tmp_path), "SEED", "0"),
        "MODEL.WEIGHTS",
        "",
    ]
    assert list(groups(todo, tmp_path)) == ["resnet50_fpn_wrn34_2_random", "resnet50_fpn_resnet18_random"]
    with pytest.raises(InputError, match="did you mean resnet18"):
        runs(CONFIGS[:1], [RANDOM], [0], ["resnet1"])
    with pytest.raises(InputError, match="two runs would share this folder"):
        runs(CONFIGS[:1], [RANDOM], [0], ["resnet18", "resnet18"])


def test_seeds_of_a_run_are_one_group(tmp_path):
    todo = runs(CONFIGS, [RANDOM], [0, 1])
    assert groups(todo, tmp_path)["wrn34_2_fpn_random"] == [tmp_path / f"wrn34_2_fpn_random_{s}" for s in (0, 1)]


def test_a_folder_with_another_run_is_refused(tmp_path):
    todo = runs(CONFIGS[:1], [RANDOM], [0, 1])
    expected = {"config": {"SEED": 0, "A": 1}, "weights": {}, "data": {}, "code": "1"}
    asked = []

    def planned(arguments):
        asked.append(arguments)
        return expected

    for run, a in zip(todo, (1, 2), strict=True):
        config = {"config": {"SEED": run.seed, "A": a}}
        run.folder(tmp_path).mkdir()
        (run.folder(tmp_path) / "run.json").write_text(json.dumps({"fingerprint": expected | config}))
    check_runs(todo, [], tmp_path, pytest.fail, list)  # runs that got no further than their start begin again
    (todo[0].folder(tmp_path) / "last_checkpoint").write_text("model_0000001.pth")
    (todo[1].folder(tmp_path) / "results.json").touch()
    check_runs(todo[:1], [], tmp_path, planned, list)
    with pytest.raises(InputError, match=r"resnet50_fpn_random_1: holds another run .*: A was 2, now 1; move"):
        check_runs(todo, [], tmp_path, planned, list)
    assert len(asked) == 2  # once in a call, for all seeds


def test_runs_in_phases_go_on_and_a_failed_run_does_not_hold_up_the_others(tmp_path):
    todo = runs(CONFIGS, [RANDOM], [0])
    (todo[0].folder(tmp_path) / "rpn").mkdir(parents=True)
    (todo[0].folder(tmp_path) / "rpn" / "last_checkpoint").write_text("model_0000001.pth")
    note = tmp_path / "commands"
    script = f"import sys; open({str(note)!r}, 'a').write(f'{{sys.argv}}\\n'); sys.exit('resnet50' in str(sys.argv))"
    with pytest.raises(InputError, match=r"resnet50_fpn_random_0: .* failed with exit code 1"):
        compare(todo, [sys.executable, "-c", script], [], tmp_path, 0)
    first, second = note.read_text().splitlines()
    assert "--resume" in first and "wrn34_2" in second and "--resume" not in second


@pytest.mark.slow
def test_runs_go_on_where_the_clock_stopped_them(shapes, tmp_path, monkeypatch):
    fork_tools(monkeypatch, tmp_path / "printed")  # test_package.py has the same command with real processes
    config = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
    small = ["SOLVER.MAX_ITER", 2, "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "TEST.PICTURES", 0]
    args = [config, "--data", shapes, "--seeds", 0, 1, "--output", tmp_path / "out"]
    done = run_tool("compare.py", *args, "--minutes", 1e-9, "--set", *small)
    assert done.returncode == 0 and "0 of 2" in done.stdout, done.stderr
    done = run_tool("compare.py", *args, "--set", *small)
    assert done.returncode == 0 and "2 of 2" in done.stdout, done.stderr
    assert "2 of 2" in (tmp_path / "out" / "comparison.md").read_text()
    (row,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert row["AP"]["low"] is not None and row["inference_ms"] > 0 and row["peak_memory_mb"] > 100
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pth")}
    again = run_tool("compare.py", *args, "--set", *small)
    assert again.returncode == 0 and before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pth")}
    # A run that was stopped between its last checkpoint and its results goes on, and stays the same run.
    folder = tmp_path / "out" / "faster_rcnn_resnet18_fpn_random_0"
    finished = (folder / "results.json").read_text()
    (folder / "results.json").unlink()
    for _ in range(2):
        again = run_tool("compare.py", *args, "--set", *small)
        assert again.returncode == 0 and "2 of 2" in again.stdout, again.stderr
    figures = [next(iter(json.loads(r).values())) for r in (finished, (folder / "results.json").read_text())]
    assert figures[0]["AP"] == figures[1]["AP"]
    small[1] = 3
    other = run_tool("compare.py", *args, "--set", *small)
    assert_clear_error(other, "faster_rcnn_resnet18_fpn_random_0: holds another run", "SOLVER.MAX_ITER was 2, now 3")
    assert "2 of 2" not in other.stdout  # another run's figures
    assert_clear_error(run_tool("compare.py", "configs/no.yaml", "--output", tmp_path / "x"), "no such config")
