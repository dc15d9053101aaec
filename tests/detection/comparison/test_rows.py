"""Finished runs side by side: rows, intervals, differences, and the files that a comparison writes."""

import csv
import json
import shutil

from backbones.errors import InputError
from detection.comparison.finished import FinishedRun
from detection.comparison.rows import groups_of, pairs_of, rows_of
from detection.comparison.tables import as_csv, as_json, markdown, transfer, write

import numpy as np
import pytest
from finished_runs import finished_run, write_truth
from run_tools import assert_clear_error, run_tool

KINDS = ("random", "pretrained")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of a good detector from a checkpoint and of a bad one from random weights, two seeds each; the folders."""
    root = tmp_path_factory.mktemp("runs")
    truth, images = write_truth(root, count=40)
    (root / "pretrain").mkdir()
    (root / "pretrain" / "results.json").write_text('{"top1_error": 23.5}')
    weights = root / "pretrain" / "model_final.pth"
    for seed in (0, 1):
        finished_run(root / f"good_{seed}", truth, images, seed=seed, noise=0.5, weights=weights)
        finished_run(root / f"bad_{seed}", truth, images, seed=seed, noise=12, keep=0.8)
    return [root / name for name in ("good_0", "good_1", "bad_0", "bad_1")]


@pytest.fixture(scope="module")
def compared(folders):
    rows = rows_of(groups_of(folders))
    return rows, pairs_of(rows)


def test_runs_that_differ_in_their_seed_are_one_row(compared, folders):
    rows, _ = compared
    assert [row.name for row in rows] == ["resnet18 FPN pretrained", "resnet18 FPN random"]
    assert [[run.cfg.SEED for run in row.runs] for row in rows] == [[0, 1], [0, 1]]
    good = rows[0]
    of_seeds = [json.loads((f / "results.json").read_text()) for f in folders[:2]]
    expected = [next(iter(r.values()))["AP"] for r in of_seeds]
    estimate = good.estimate("AP")
    assert [*good.of_seeds("AP").values()] == expected
    assert estimate.value == pytest.approx(np.mean(expected))
    assert estimate.low < estimate.value < estimate.high and estimate.high - estimate.low > 2
    assert (good.params, good.flops) == pytest.approx((11.69, 1.81), abs=0.01)
    assert good.mean("training_seconds") == 0.5 / 16 and good.mean_speed("inference_ms") == 12.5
    assert good.mean("pretraining_error") == 23.5 and np.isnan(rows[1].mean("pretraining_error"))


def test_a_difference_is_real_where_the_interval_leaves_zero_out(compared, folders):
    (pair,) = compared[1]
    difference = pair.difference("AP")
    assert difference.is_real and difference.low > 0 and pair.seeds == (0, 1)
    assert difference.value == pytest.approx(pair.first.estimate("AP").value - pair.second.estimate("AP").value)
    (same,) = pairs_of(rows_of({"one": folders[:1], "same": folders[:1]}))
    assert same.difference("AP") == type(difference)(0.0, 0.0, 0.0) and not same.difference("AP").is_real


def test_markdown_csv_and_json_say_the_same(compared, tmp_path):
    rows, pairs = compared
    text = markdown(rows, pairs)
    assert "resnet18 FPN pretrained - resnet18 FPN random" in text and "| yes" in text
    content = json.loads(json.dumps(as_json(rows, pairs), allow_nan=True))
    (first, _) = csv.DictReader(as_csv(rows).splitlines())
    ap = content["rows"][0]["AP"]
    assert float(first["AP low"]) == pytest.approx(ap["low"], rel=1e-5)
    assert f"{ap['value']:.1f} [{ap['low']:.1f}, {ap['high']:.1f}]" in text
    assert first["pretraining_error"] == "23.5" and content["pairs"][0]["AP"]["real"] is True
    assert content["command"] and content["versions"]["torch"]
    gained = transfer(rows, pairs)["rows"]
    assert gained[0]["gain_low"] < gained[0]["gain"] < gained[0]["gain_high"]
    assert gained[0]["random"]["AP"] == [*rows[1].of_seeds("AP").values()]
    assert transfer(rows[:1], []) is None
    write(rows, pairs, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"comparison.{e}" for e in ("md", "csv", "json")} | {
        "transfer.json"
    }
    json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_the_table_of_transfer_has_the_seeds_that_both_starts_have(folders):
    rows = rows_of({"good": folders[:2], "bad": folders[3:]})
    content = transfer(rows, pairs_of(rows))
    (row,) = content["rows"]
    assert row.keys() == {"network", "head", "gain", "gain_low", "gain_high", "seeds", *KINDS, "pretraining_error"}
    assert (row["network"], row["head"], row["seeds"], row["pretraining_error"]) == ("resnet18", "FPN", [1], 23.5)
    assert [row[kind]["AP"] for kind in KINDS] == [[rows[1].of_seeds("AP")[1]], [rows[0].of_seeds("AP")[1]]]
    assert row["gain"] == pytest.approx(row["pretrained"]["AP"][0] - row["random"]["AP"][0])
    assert row["pretrained"]["AP_by_iteration"] == [[(81, row["pretrained"]["AP"][0])]]
    assert content["command"] and content["date"] and content["versions"]["torch"]


def test_a_run_whose_data_are_gone_has_figures_without_intervals(folders, tmp_path):
    run = shutil.copytree(folders[0], tmp_path / "run")
    text = (run / "config.yaml").read_text()
    results = json.loads((run / "results.json").read_text())
    (run / "config.yaml").write_text(text.replace("/val.json", "/gone.json"))
    (name,) = results
    (run / "results.json").write_text(json.dumps({name.replace("/val.json", "/gone.json"): results[name]}))
    (row,) = rows_of({"x": [run]})
    assert "gone.json" in row.remark and not row.resamples and row.estimate("AP").value > 10
    assert "no intervals: " in markdown([row], [])


def test_a_run_on_changed_data_has_no_intervals(folders, tmp_path):
    run = shutil.copytree(folders[0], tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    about["fingerprint"]["data"]["DATASETS.TEST"]["sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps(about))
    (row,) = rows_of({"x": [run]})
    assert "has changed since" in row.remark and pairs_of([row, *rows_of({"y": folders[2:3]})]) == []


def test_unfinished_and_strange_folders(folders, tmp_path):
    (row,) = rows_of({"x": [tmp_path / "none"]})
    assert markdown([row], []).splitlines()[2].count(" - ") > 5 and "0 of 1" in markdown([row], [])
    (tmp_path / "odd").mkdir()
    for content in ("", "[]", "{}", '{"a": 3}'):
        (tmp_path / "odd" / "results.json").write_text(content)
        with pytest.raises(InputError, match="holds no finished run of a detector"):
            FinishedRun(tmp_path / "odd")
    run = shutil.copytree(folders[0], tmp_path / "run")
    for file in run.rglob("*.json"):
        if file.name not in ("results.json", "config.yaml"):
            file.write_text("[" * 100_000)  # nested too deep for the parser
    (row,) = rows_of(groups_of([run]))
    assert row.remark and np.isnan(row.mean_speed("inference_ms")) and np.isnan(row.mean("training_seconds"))


def test_the_tool_compares_finished_runs(folders, tmp_path):
    done = run_tool("compare.py", *folders, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resnet18 FPN pretrained - resnet18 FPN random" in done.stdout
    assert (tmp_path / "comparison.md").read_text().strip() in done.stdout
    assert_clear_error(run_tool("compare.py", folders[0], "x.yaml", "--output", tmp_path), "not both")
