"""The benchmarks that train: their commands are the tools', and the peers' trainings run."""

import json
from pathlib import Path
from types import SimpleNamespace

from backbones.catalogue import get_spec
from backbones.weights.files import save_checkpoint
from benchmarks.accuracy import training_images, transfer
from benchmarks.accuracy.collages import SIDE, make_collages
from benchmarks.accuracy.training_images import take
from classification.schema.keys import check_keys as check_classification
from detection.comparison.matrix import RANDOM, runs
from detection.config import default_config
from detection.data.layouts.coco import load_coco
from detection.data.layouts.defects import Defects
from detection.schema.keys import check_keys as check_detection
from residet.config import merge_config
from tools import compare, pretrain

import pytest
import torch
from PIL import Image
from run_tools import PROJECT, run_tool, start_tool


def test_transfer_goes_on_network_by_network(tmp_path, monkeypatch):
    commands = []
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(transfer, "finish", lambda command, folder, deadline: commands.append(command([])) or True)
    monkeypatch.setattr(transfer, "call", lambda command, deadline: commands.append(command) or True)
    args = {"output": tmp_path, "name": "compare", "seeds": [0, 1, 2], "workers": 0, "epochs": 2, "cifar10": "C"}
    args |= {"data": "B", "size": 224, "networks": transfer.NETWORKS, "minutes": 0}
    transfer.work(SimpleNamespace(**args))
    tools = [Path(command[1]).name for command in commands]
    assert tools == ["pretrain.py", "compare.py"] * 6
    for command, arch in zip(commands[::2], transfer.NETWORKS, strict=False):
        cfg = pretrain.configure(pretrain.parse(command[2:]))
        check_classification(cfg)
        assert arch == cfg.CLASSIFICATION.ARCH and str(tmp_path / "pretrain" / arch) == cfg.OUTPUT_DIR
        save_checkpoint({"model": {}}, tmp_path / "pretrain" / arch / "model_final.pth")
    first, last = (compare.parse(command[2:]) for command in (commands[1], commands[-1]))
    assert first.source == ["configs/bccd/resnet50_fpn.yaml", "configs/bccd/resnet50_c4.yaml"]
    assert first.seeds == last.seeds == [0, 1, 2]
    todo = runs(last.source, [last.weights, RANDOM], last.seeds)
    assert len(todo) == (6 + 2) * 2 * 3
    for run in todo[:16]:
        cfg = default_config()
        merge_config(cfg, str(run.config), last.opts)
        check_detection(cfg)


def voc_set(root, train):
    """A set of `train` training images and one image each to validate and test with, in VOC layout."""
    names = {"train": [f"{i:02d}" for i in range(train)], "val": ["v"], "test": ["t"]}
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, own in names.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(own))
        for name in own:
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{name}.xml").write_text(name)
    return root


def test_smaller_sets_are_parts_of_larger_sets(tmp_path):
    data = voc_set(tmp_path / "data", 20)
    taken = {}
    for count in (5, 10):
        folder = take(data, count, tmp_path / str(count))
        taken[count] = set((folder / "ImageSets" / "Main" / "train.txt").read_text().split())
        assert len(taken[count]) == count and taken[count] <= {f"{i:02d}" for i in range(20)}
        assert (folder / "ImageSets" / "Main" / "test.txt").read_text() == "t"
        assert len([*(folder / "Annotations").iterdir()]) == 22
        assert take(data, 1, folder) == folder and len((folder / "ImageSets" / "Main" / "train.txt").read_text()) > 9
    assert taken[5] < taken[10]


def test_curves_have_a_row_for_each_number_of_images(tmp_path, monkeypatch):
    row = {"network": "resnet50", "gain": 10.0}

    def compare_starts(configs, args, data, folder, deadline):
        assert configs == ["configs/bccd/resnet50_fpn.yaml"]
        folder.mkdir(parents=True)
        (folder / "transfer.json").write_text(json.dumps({"rows": [row]}))
        return True

    monkeypatch.setattr(training_images, "compare_starts", compare_starts)
    args = {
        "output": tmp_path / "out",
        "data": voc_set(tmp_path / "data", 8),
        "images": [4, 100],
        "network": "resnet50",
    }
    training_images.work(SimpleNamespace(**args, seeds=[0], minutes=0))
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert [r["images"] for r in curves["rows"]] == [4, 8] and curves["rows"][0]["gain"] == 10


def test_collages_show_each_photograph_whole_and_train_on_none_that_they_test(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        for number in range(4):  # red says the class, green the photograph
            path = tmp_path / "cifar10" / "test" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (100 * label, 60 * number, 0)).save(path)
    make_collages(tmp_path / "cifar10", tmp_path / "out", train=6, val=6)
    seen = {}
    for split in ("train", "val"):
        defects = Defects()
        source = load_coco(tmp_path / "out" / "annotations" / f"{split}.json", None, defects)
        assert not defects.counts and source.classes == ["cat", "dog"] and len(source.records) == 6
        for record in source.records:
            image = Image.open(record["file_name"])
            assert image.size == (SIDE, SIDE)
            for annotation in record["annotations"]:
                x0, y0, x1, y1 = map(int, annotation["bbox"])
                ((_, colour),) = image.crop((x0, y0, x1, y1)).getcolors()  # a single colour: nothing lies over it
                assert colour[0] == 100 * source.classes.index(annotation["category"])
                seen.setdefault(split, set()).add(colour)
    assert seen["train"] and seen["val"] and not seen["train"] & seen["val"]


@pytest.mark.slow
def test_the_peers_train_the_same_detector(shapes, tmp_path):
    weights = tmp_path / "resnet50.pth"
    state = get_spec("resnet50").build(10).state_dict()
    pixels = {"mean": [120.0] * 3, "std": [60.0] * 3, "channel_order": "RGB"}
    save_checkpoint({"model": state, "arch": "resnet50", "task": "classification", **pixels}, weights)
    options = ["--iterations", 5, "--size", 48, "--output", tmp_path / "out", "--weights", weights, "--device", "cpu"]
    done = run_tool("benchmarks.accuracy.peers", "--data", shapes, *options)
    assert done.returncode == 0, done.stderr
    found = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/peer.json")}
    assert found.keys() == {"residet_0", "detectron2_0", "torchvision_0"}
    sizes = {name: run["parameters"] for name, run in found.items()}
    background = 4 * (1024 + 1)  # torchvision regresses a box for the background too
    assert sizes["residet_0"] == sizes["detectron2_0"] == sizes["torchvision_0"] - background
    assert all(torch.isfinite(torch.tensor([run["AP"], run["seconds"]])).all() for run in found.values())
    again = run_tool("benchmarks.accuracy.peers", "--data", shapes, *options)
    assert again.returncode == 0 and again.stdout.splitlines()[-5:] == done.stdout.splitlines()[-5:]
    assert (
        "other arguments"
        in start_tool("../benchmarks/accuracy/peers.py", "--data", shapes, *options, "--rate", 1).stderr
    )
