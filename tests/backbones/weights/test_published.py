"""The table of published weights: what the publishers' own packages say, and what `auto` makes of it."""

import re
import subprocess
import sys

from backbones.catalogue import CATALOGUE
from backbones.errors import InputError
from backbones.weights.hub import ADDRESSES, check_source
from backbones.weights.published import best, find, for_network, published, weights_table

import pytest
import torchvision
from detectron2 import model_zoo
from run_tools import PROJECT, run_tool

COLUMNS = ["name", "network", "top-1 %", "box AP", "trained on", "preprocessing of the test", "licence"]


def rows_of(source):
    return {row.name: row for row in published() if row.source == source}


def pixels(values):
    return pytest.approx([255 * value for value in values])


def library_name(row):
    return CATALOGUE[row.network].timm


def test_names_and_networks_are_known():
    assert len({row.full_name for row in published()}) == len(published()) > 80
    assert all(row.network in CATALOGUE for row in published())
    assert all((row.top1 is None) != (row.box_ap is None) for row in published())


@pytest.mark.parametrize("row", rows_of("torchvision").values(), ids=lambda row: row.name)
def test_torchvision_says_the_same_of_its_weights(row):
    network, _, tag = row.name.partition(".")
    theirs = torchvision.models.get_model_weights(network)[tag]
    assert theirs.url == ADDRESSES["torchvision"] + row.file and re.search(r"-[0-9a-f]{8}\.pth$", row.file)
    assert network == library_name(row)
    assert row.top1 == pytest.approx(theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"], abs=0.006)
    test = theirs.transforms()
    assert ([row.crop], [row.resize], row.interpolation) == (test.crop_size, test.resize_size, test.interpolation.value)
    assert row.mean == pixels(test.mean) and row.std == pixels(test.std)


def test_torchvisions_classifiers_are_all_there():
    names = {library_name(row) for row in rows_of("torchvision").values()}
    for name in names:
        tags = {f"{name}.{weights.name}" for weights in torchvision.models.get_model_weights(name)}
        assert tags - {"vgg16.IMAGENET1K_FEATURES"} == {n for n in rows_of("torchvision") if n.startswith(name + ".")}
    assert names == {spec.timm for spec in CATALOGUE.values() if spec.timm in torchvision.models.list_models()}


def test_timm_says_the_same_of_its_weights():
    timm = pytest.importorskip("timm")
    for row in rows_of("timm").values():
        theirs = timm.models.get_pretrained_cfg(row.name)
        assert theirs.hf_hub_id == f"timm/{row.name}" and row.name.partition(".")[0] == library_name(row)
        assert theirs.license == row.licence.lower() and theirs.interpolation == row.interpolation
        assert row.mean == pixels(theirs.mean) and row.std == pixels(theirs.std)
        foreign = {"fb_ssl": "YFCC100M", "fb_swsl": "IG-1B"}
        tag = row.name.partition(".")[2]
        assert row.trained_on == next((v for k, v in foreign.items() if tag.startswith(k)), "ImageNet-1K")


def test_detectron2_says_the_same_of_its_weights():
    for row in rows_of("detectron2").values():
        if row.box_ap:
            assert model_zoo.get_checkpoint_url(row.name + ".yaml") == ADDRESSES["detectron2"] + row.file
            cfg = model_zoo.get_config(row.name + ".yaml")
            assert f"resnet{cfg.MODEL.RESNETS.DEPTH}_caffe" == row.network and cfg.MODEL.RESNETS.STRIDE_IN_1X1
            assert row.mean == pytest.approx(cfg.MODEL.PIXEL_MEAN) and list(row.std) == cfg.MODEL.PIXEL_STD
            assert row.channel_order == cfg.INPUT.FORMAT


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("resnet50", "torchvision:resnet50.IMAGENET1K_V2"),
        ("resnext50_1x64d", "torchvision:resnet50.IMAGENET1K_V2"),  # another name of the same network
        ("wrn50_2_bottleneck", "torchvision:wide_resnet50_2.IMAGENET1K_V2"),
        ("resnext101_32x4d", "timm:resnext101_32x4d.gluon_in1k"),  # the better ones are not for commercial use
        ("resnet101_caffe", "detectron2:ImageNetPretrained/MSRA/R-101.pkl"),
    ],
)
def test_auto_takes_the_most_accurate_that_was_trained_on_imagenet_and_is_free(arch, name):
    assert best(arch).full_name == name
    check_source("auto", arch)
    free = [row for row in for_network(arch) if row.trained_on == "ImageNet-1K" and "NC" not in row.licence]
    assert best(arch).top1 >= max(row.top1 or 0 for row in free) - 0.1
    assert best(arch).metadata(arch)["arch"] == arch


def test_a_name_without_a_tag_means_the_best_of_its_source():
    assert find("torchvision:resnet50").name == "resnet50.IMAGENET1K_V2"
    assert find("timm:resnext50_32x4d").name == "resnext50_32x4d.tv2_in1k"
    with pytest.raises(InputError, match=r"did you mean timm:resnet50\.a1_in1k"):
        find("timm:resnet50.a1_in1")


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_the_documentation_is_the_table_of_the_code():
    lines = (PROJECT / "docs" / "weights.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if cells(line) == COLUMNS)
    table = weights_table(table_format="github").splitlines()
    assert lines[start : start + len(table)] == table


def test_the_tools_list_the_weights():
    for tool in ("train_net.py", "pretrain.py", "compare.py"):
        done = run_tool(tool, "--list-weights", "wrn50_2_bottleneck")
        assert done.returncode == 0 and "torchvision:wide_resnet50_2.IMAGENET1K_V2 *" in done.stdout
        assert "resnet18" not in done.stdout
    done = run_tool("train_net.py", "--list-weights")
    assert done.stdout.strip() == weights_table()
    command = f"{sys.executable} tools/train_net.py --list-weights | true"  # nobody reads what is printed
    done = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    done = run_tool("train_net.py", "--list-weights", "wrn34_2")
    assert done.returncode == 0 and "nobody has published PyTorch weights of wrn34_2" in done.stdout
    done = run_tool("train_net.py", "--list-weights", "resnet51")
    assert done.returncode == 2 and "did you mean resnet50" in done.stderr
