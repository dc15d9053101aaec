"""The papers' claims in small: verdicts, and runs that go on."""

import json
import math
import statistics

from backbones.catalogue import get_spec
from backbones.complexity import measure
from classification.papers import claims
from classification.papers.claims import CLAIMS, ShortRun, measured, short_runs, summary, verdict

import pytest
import yaml
from forked_ranks import fork_tools
from run_tools import DATA, assert_clear_error, run_tool

PAPERS = yaml.safe_load((DATA / "papers.yaml").read_text())


def test_each_network_runs_once_for_each_seed_and_the_first_seed_first():
    todo = short_runs([3, 4])
    archs = {arch for claim in CLAIMS for arch in (claim.better, claim.other)}
    assert len(todo) == 2 * len(archs) and [r.seed for r in todo] == [3] * len(archs) + [4] * len(archs)
    assert all(get_spec(arch).name == arch for arch in archs)


def test_what_is_compared_is_alike():
    """Equal parameters for width against depth; equal parameters and FLOPs for cardinality against width."""
    size = {r.arch: measure(get_spec(r.arch)) for r in short_runs([0])}
    by_words = {claim.words.split()[0]: claim for claim in CLAIMS}
    wide, cardinal = by_words["wide"], by_words["cardinality"]
    assert size[wide.better].params == pytest.approx(size[wide.other].params, rel=0.25)
    for figure in ("params", "flops"):
        ours, theirs = (getattr(size[arch], figure) for arch in (cardinal.better, cardinal.other))
        assert ours == pytest.approx(theirs, rel=0.03)


def test_the_claim_of_dropout_is_of_a_small_network():
    """Wide ResNet, Table 6: WRN-16-4 has 5.02 % without dropout and 5.24 % with. Section 3 explains the drop.

    "Probably due to the relatively small number of parameters."
    """
    without, with_dropout = (PAPERS["wrn"]["dropout"]["wrn16_4"][key][0] for key in ("without", "with"))
    (claim,) = (claim for claim in CLAIMS if "dropout" in claim.words)
    assert without < with_dropout and f"WRN-16-4: {with_dropout} %, {without} % without" in claim.words
    assert claim.other == f"{claim.better}_d0.3"


def test_verdicts_ask_for_more_than_the_spread_of_seeds():
    deeper_plain, deeper_residual = CLAIMS[:2]
    assert verdict(deeper_plain, [20.0, 21.0], [25.0, 26.0]) == "shown"
    assert verdict(deeper_plain, [20.0, 24.0], [22.0, 24.5]) == "not shown"
    assert verdict(deeper_plain, [25.0, 26.0], [20.0, 21.0]) == "the opposite"
    assert verdict(deeper_plain, [20.0], [20.1]) == "shown" and verdict(deeper_plain, [], [20.0]) == "no verdict"
    assert verdict(deeper_residual, [20.4, 20.6], [20.0, 20.8]) == "shown"  # not worse, to the spread
    assert verdict(deeper_residual, [25.0, 25.1], [20.0, 20.1]) == "the opposite"


def test_the_table_has_means_and_both_kinds_of_error(tmp_path):
    for number, run in enumerate(short_runs([0, 1])):
        folder = run.folder(tmp_path)
        folder.mkdir(parents=True)
        error = 30.0 + number % 9
        (folder / "results.json").write_text(json.dumps({"top1_error": error}))
        rows = [{"iteration": i, "train_error": 90.0 if i < 95 else error - 5} for i in range(0, 100, 5)]
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, rows)))
    run = ShortRun("cifar_resnet.yaml", "cifar_plain20", 0)
    # The last tenth of the iterations, 0 to 95, are 90, at the start, and 95.
    assert run.errors(tmp_path)[1] == pytest.approx((90.0 + 25.0) / 2)
    (run.folder(tmp_path) / "metrics.json").rename(tmp_path / "away")
    assert run.errors(tmp_path)[0] == 30.0 and math.isnan(run.errors(tmp_path)[1])
    training = next(row for row in measured([0, 1], tmp_path) if row["error"] == "training")
    assert training["seeds"] == [[1], [0, 1]] and training["verdict"] != "no verdict"
    (tmp_path / "away").rename(run.folder(tmp_path) / "metrics.json")
    table = summary(measured([0, 1], tmp_path)).splitlines()
    assert len(table) == 2 + len(CLAIMS) + sum(claim.training for claim in CLAIMS)
    first = [ShortRun("cifar_resnet.yaml", "cifar_plain20", seed).errors(tmp_path)[0] for seed in (0, 1)]
    assert f"cifar_plain20 {statistics.fmean(first):.2f} ± {statistics.stdev(first):.2f} (2)" in table[2]
    assert "no verdict" in summary(measured([7], tmp_path))


def test_runs_stop_in_time_and_go_on(shapes, tmp_path, monkeypatch):
    fork_tools(monkeypatch, tmp_path / "printed")
    monkeypatch.setattr(claims, "CLAIMS", CLAIMS[2:4])  # three networks, which stand for the nine
    data = ["--data", shapes / "crops", "--output", tmp_path, "--seeds", 0, "--iterations", 2]
    opts = ["--set", "SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
    done = run_tool("reproduce.py", "small", *data, "--minutes", "1e-9", *opts)
    assert done.returncode == 0 and done.stdout.count("no verdict") == 2, done.stderr
    assert (tmp_path / "small" / "claims.png").is_file() and not list(tmp_path.rglob("*.pth"))
    done = run_tool("reproduce.py", "small", *data, *opts)
    assert done.returncode == 0 and "no verdict" not in done.stdout, done.stderr
    (row, _) = json.loads((tmp_path / "small" / "claims.json").read_text())["rows"]
    assert row["networks"] == ["cifar_wrn16_2", "cifar_wrn40_1"] and row["error"] == "test"
    assert row["seeds"] == [[0], [0]] and len(row["errors"][0]) == 1
    results = sorted(tmp_path.rglob("results.json"))
    assert [path.parts[-3] for path in results] == ["cifar_wrn16_2", "cifar_wrn16_2_d0.3", "cifar_wrn40_1"]
    before = [path.stat().st_mtime_ns for path in results]
    again = run_tool("reproduce.py", "small", *data, *opts)
    assert again.returncode == 0 and [path.stat().st_mtime_ns for path in results] == before
    longer = run_tool("reproduce.py", "small", *data, "--iterations", 3, *opts)
    assert_clear_error(longer, "seed_0: holds another run", "CLASSIFICATION.SCHEDULE_SCALE was")
