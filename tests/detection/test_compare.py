"""Networks side by side: one command for all runs, stopped by the clock and gone on with."""

import json
import sys

from backbones.errors import InputError
from detection.compare import RANDOM, compare, runs, summary

import pytest
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


def test_the_table_has_mean_and_spread(tmp_path):
    todo = runs(CONFIGS, [RANDOM], [0, 1])
    for run, ap in zip([r for r in todo if r.arch == "resnet50"], (30.0, 34.0), strict=True):
        run.folder(tmp_path).mkdir()
        row = {"AP": ap, "AP50": 50.0, "AP75": 20.0, "seconds": 120.0}
        (run.folder(tmp_path) / "results.json").write_text(json.dumps({"val": row}))
    lines = summary(todo, tmp_path).splitlines()
    assert [c.strip() for c in lines[2].split("|")[2:9]] == [
        *("resnet50", "random", "2 of 2", "32.0 ± 2.8", "50.0 ± 0.0", "20.0 ± 0.0", "2.0 ± 0.0")
    ]
    assert "0 of 2" in lines[3] and "| -" in lines[3]


def test_runs_of_stages_go_on_and_a_failed_one_does_not_hold_up_the_rest(tmp_path):
    todo = runs(CONFIGS, [RANDOM], [0])
    (todo[0].folder(tmp_path) / "rpn").mkdir(parents=True)
    (todo[0].folder(tmp_path) / "rpn" / "last_checkpoint").touch()
    note = tmp_path / "commands"
    script = f"import sys; open({str(note)!r}, 'a').write(f'{{sys.argv}}\\n'); sys.exit('resnet50' in str(sys.argv))"
    with pytest.raises(InputError, match=r"resnet50_fpn_random_0: .* failed with exit code 1"):
        compare(todo, [sys.executable, "-c", script], [], tmp_path, 0)
    first, second = note.read_text().splitlines()
    assert "--resume" in first and "wrn34_2" in second and "--resume" not in second


@pytest.mark.slow
def test_runs_go_on_where_the_clock_stopped_them(shapes, tmp_path):
    config = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
    small = ["SOLVER.MAX_ITER", 2, "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "TEST.PICTURES", 0]
    args = [config, "--data", shapes, "--seeds", 0, 1, "--output", tmp_path / "out"]
    done = run_tool("compare.py", *args, "--minutes", 1e-9, "--set", *small)
    assert done.returncode == 0 and "0 of 2" in done.stdout, done.stderr
    done = run_tool("compare.py", *args, "--set", *small)
    assert done.returncode == 0 and "2 of 2" in done.stdout, done.stderr
    assert "2 of 2" in (tmp_path / "out" / "comparison.md").read_text()
    assert_clear_error(run_tool("compare.py", "configs/no.yaml", "--output", tmp_path / "x"), "no such config")
