"""The papers' detection tables: printed figures, cells that runs fill, and commands for those that are empty."""

import importlib
import json
import shlex

from backbones.errors import InputError
from detection.comparison.paper import lay_out, papers
from detection.config import default_config
from residet.config import merge_config
from residet.output import write_config

import pytest
import yaml
from run_tools import DATA, PROJECT, kept_state, run_tool

CELLS = [
    cell for tables in papers().values() for table in tables for row in table["rows"].values() for cell in row.values()
]


def run_of(folder, config, figures, *pairs):
    cfg = default_config()
    merge_config(cfg, config, ["OUTPUT_DIR", str(folder), "SEED", 3, "DATASETS.CLASSES", "('a',)", *pairs])
    folder.mkdir()
    write_config(cfg)
    (folder / "results.json").write_text(json.dumps({cfg.DATASETS.TEST[0]: figures}))
    return folder


def test_a_run_of_the_recipe_fills_the_cells(tmp_path):
    config = "paper/resnext/faster_rcnn_resnet50_coco"
    run = run_of(tmp_path / "run", config, {"bbox/AP": 26.04, "bbox/AP50": 47.0})
    other = run_of(tmp_path / "other", config, {"bbox/AP": 1.0, "bbox/AP50": 2.0}, "SOLVER.WEIGHT_DECAY", 0.5)
    lines = lay_out("resnext", [other, run, tmp_path / "none"]).splitlines()
    (row,) = (line for line in lines if line.startswith("| ResNet-50"))
    assert [c.strip() for c in row.split("|")[2:6]] == ["47.6", "47.0", "26.5", "26.0"]
    (row,) = (line for line in lines if line.startswith("| ResNet-101"))
    assert [c.strip() for c in row.split("|")[2:6]] == ["51.1", "[2]", "29.8", "[2]"]
    assert any(line.startswith("[2] tools/train_net.py") and "resnet101_coco" in line for line in lines)


@pytest.mark.parametrize(
    "cell",
    [cell for cell in CELLS if "metric-" not in cell.figure],
    ids=lambda cell: f"{cell.config.rsplit('/', 1)[-1]}-{cell.figure}",
)
def test_the_commands_can_be_given(cell):
    evaluations = []
    for command in cell.commands:
        tool, *words = shlex.split(command)
        with kept_state():
            args = importlib.import_module("train_net").parse(words)
        assert tool == "tools/train_net.py" and args.weights
        evaluations.append(bool(args.eval_only))
    assert evaluations == ([False, True] if cell.eval else [False])  # what is tested is trained first
    assert (PROJECT / "configs" / f"{cell.config}.yaml").is_file()
    readme = (PROJECT / "configs" / "README.md").read_text()
    # The figures that the configs are for.
    assert f"{cell.printed:.1f}" in readme or f"{cell.printed:g} AP" in readme


def test_baseline_plus_starts_from_the_detector_of_coco():
    """And has this detector's anchors, with which a run of the recipe fills the cell."""
    table = lay_out("resnet", [])
    for year in ("07", "12"):
        name = f"paper/resnet/faster_rcnn_resnet101_voc{year}_plus"
        trained = "--weights output/paper/resnet/faster_rcnn_resnet101_coco_trainval/model_final.pth"
        assert f"tools/train_net.py --config-file {name} {trained}\n" in table
        plus, coco = default_config(), default_config()
        merge_config(plus, name, [])
        merge_config(coco, "paper/resnet/faster_rcnn_resnet101_coco_trainval", [])
        assert plus.MODEL.ANCHOR_GENERATOR.SIZES == coco.MODEL.ANCHOR_GENERATOR.SIZES


def test_the_readme_has_the_figures_that_no_table_has():
    printed = yaml.safe_load((DATA / "papers.yaml").read_text())["resnet"]
    readme = (PROJECT / "configs" / "README.md").read_text()
    for figures in (*printed["detection_ensembles"].values(), printed["localisation_err"]):
        assert all(str(figure) in readme for figure in figures), figures


@pytest.mark.parametrize(("column", "mean"), [("VGG-16", 73.2), ("ResNet-101", 76.4)])
def test_figures_of_classes_have_the_mean_of_table_7(column, mean, tmp_path):
    (table,) = (table for table in papers()["resnet"] if "Table 10" in table["title"])
    cells = [row[column] for row in table["rows"].values()]
    assert len(cells) == 20 and round(sum(cell.printed for cell in cells) / 20, 1) == mean
    figures = {cell.figure: cell.printed + 1 for cell in cells}
    run = run_of(tmp_path / "run", cells[0].config, figures)
    (line,) = (line for line in lay_out("resnet", [run]).splitlines() if line.startswith("| tvmonitor"))
    assert f"{cells[-1].printed + 1:.1f}" in line


def test_the_tool_prints_and_writes_the_tables(tmp_path):
    for name in papers():
        done = run_tool("compare.py", "--paper", name, "--output", tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"paper_{name}.md").read_text() == done.stdout
    with pytest.raises(InputError, match="none of resnet, resnext, wrn"):
        lay_out("vgg", [])
