"""The papers' speed figures, and their measurement as ratios."""

import json

from backbones.catalogue import get_spec
from backbones.errors import InputError
from classification.papers.speed import SpeedTable, Step, chosen_tables, measure, ratios, speed_tables, summary

import pytest
import torch
import yaml
from run_tools import DATA, run_tool


def test_figures_are_the_papers():
    papers = yaml.safe_load((DATA / "papers.yaml").read_text())
    tables = speed_tables()
    blocks = {get_spec(arch).block: seconds for arch, seconds in tables["wrn_blocks"].time.items()}
    assert blocks == {row["block"]: row["epoch_s"] for row in papers["wrn"]["block_types"]}
    table8 = {arch: row[3] for arch, row in papers["wrn"]["imagenet_bottleneck"].items()}
    assert tables["wrn_imagenet"].time == table8 and tables["wrn_imagenet"].batch == 16
    # Fig. 4: "forward + backward update time per minibatch of size 32"; WRN-40-4 "8 times faster" than ResNet-1001, our
    # best "WRN-28-10 is 1.6 times faster than thin ResNet-1001".
    thin, wide4, wide10 = filter(None, tables["wrn_thin_and_wide"].time.values())
    assert (thin / wide4, thin / wide10) == (8, 1.6) and tables["wrn_thin_and_wide"].batch == 32
    # ResNeXt, section 5.1: "0.95 s per mini-batch … 0.70 s of ResNet-101", "1.7 s" for 64x4d, of 256 images on 8 GPUs
    assert list(tables["resnext"].time.values()) == [0.70, 0.95, 1.7] and tables["resnext"].batch == 256 // 8
    assert (
        sum(bool(time) for t in tables.values() for time in t.time.values()) == 16 + 1
    )  # 15 times, and two ratios to one network


def test_a_step_trains_the_network():
    step = Step("cifar_resnet20", 32, 2, torch.device("cpu"))
    before = step.network.fc.weight.clone()
    assert step.seconds() > 0 and not torch.equal(step.network.fc.weight, before)


def test_networks_take_turns_and_the_first_step_does_not_count(monkeypatch):
    order, taken = [], {"cifar_resnet20": iter([99.0, 1.0, 3.0, 2.0]), "cifar_resnet32": iter([99.0, 6.0, 4.0, 8.0])}

    def seconds(step):
        order.append(step.network.spec.name)
        return next(taken[order[-1]])

    monkeypatch.setattr(Step, "seconds", seconds)
    table = SpeedTable("own", "here", 32, 4, dict.fromkeys(taken, 1.0))
    assert measure(table, torch.device("cpu"), steps=3) == {"cifar_resnet20": 2.0, "cifar_resnet32": 6.0}
    assert order == list(taken) * 4


def test_ratios_are_set_beside_the_papers():
    measured = {"resnext": {"resnet101": 2.0, "resnext101_32x4d": 3.0}}
    measured["wrn_thin_and_wide"] = {"cifar_preact_resnet1001": 4.0, "cifar_wrn40_1": 1.0}
    rows = [line.split() for line in summary(ratios(measured)).splitlines()]
    assert rows[2:] == [
        ["resnext", "resnet101", "2000.0", "1.00", "1.00"],
        ["resnext", "resnext101_32x4d", "3000.0", "1.50", "1.36"],
        ["wrn_thin_and_wide", "cifar_preact_resnet1001", "4000.0", "1.00", "1.00"],
        ["wrn_thin_and_wide", "cifar_wrn40_1", "1000.0", "0.25", "-"],
    ]


def test_tables_are_chosen_by_name():
    assert [t.name for t in chosen_tables(["speed"])] == list(speed_tables())
    assert [t.name for t in chosen_tables(["speed:resnext", "speed:resnext"])] == ["resnext"]
    with pytest.raises(InputError, match="speed:resnet: no such table; there are wrn_blocks"):
        chosen_tables(["speed:resnet"])


def test_the_tool_measures_a_table(tmp_path):
    done = run_tool("reproduce.py", "speed:wrn_blocks", "--batch", 1, "--steps", 1, "--output", tmp_path)
    assert done.returncode == 0 and done.stdout.count("wrn_blocks") == 6, done.stderr
    written = json.loads((tmp_path / "speed.json").read_text())
    assert len(written["rows"]) == 6 and {"command", "date", "versions"} < set(written)
