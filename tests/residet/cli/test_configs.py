"""The configs of residet by name, from any folder, and in the YAML files of a user."""

from backbones.errors import InputError
from residet.cli.configs import config_names, configs_folder, find_config

import pytest
from run_tools import PROJECT


def test_the_names_are_the_files():
    assert configs_folder() == PROJECT / "configs"
    assert {"faster_rcnn_wrn34_2", "bccd/resnet18_fpn", "classification/imagenet"} <= set(config_names())
    assert len(config_names()) == len([*(PROJECT / "configs").rglob("*.yaml")])


@pytest.mark.parametrize("name", ["bccd/resnet18_fpn", "bccd/resnet18_fpn.yaml", "configs/bccd/resnet18_fpn.yaml"])
def test_a_config_is_found_by_name_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == PROJECT / "configs" / "bccd" / "resnet18_fpn.yaml"


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faster_rcnn_wrn34_2").write_text("SEED: 1\n")
    assert find_config("faster_rcnn_wrn34_2").read_text() == "SEED: 1\n"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("faster_rcnn_wrn34", "faster_rcnn_wrn34_2"),
        ("bccd/resnet18", "bccd/resnet18_fpn"),
        ("/none/mine.yml", "/none/mine.yaml"),
        ("qqqq", None),
        ("", None),
        ("..", None),
    ],
)
def test_a_wrong_name_suggests_the_nearest(tmp_path, monkeypatch, name, nearest):
    monkeypatch.chdir(tmp_path)
    if name.startswith("/none"):
        name, nearest = str(tmp_path / "mine.yml"), str(tmp_path / "mine.yaml")
        (tmp_path / "mine.yaml").write_text("SEED: 1\n")
    with pytest.raises(InputError, match="no such config") as caught:
        find_config(name)
    assert str(caught.value).partition("; did you mean ")[2].rstrip("?") == (nearest or "")
