"""Against the outside: torchvision's and timm's networks with the same weights; the forms of ResNeXt to each other."""

import dataclasses

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.forms import convert_form
from backbones.resnet import ResidualNet, build_stage
from backbones.vgg import VGGSpec
from backbones.weights.export import export
from backbones.weights.files import read_checkpoint
from backbones.weights.load import load_state
from backbones.weights.naming import to_timm_vgg
from backbones.weights.read import read_weights, weights_in

import pytest
import timm
import torch
import torchvision
from calibrate import make_norms_matter
from quick_networks import quickly_filled, unfilled
from run_tools import assert_clear_error, run_tool
from timm.models.resnetv2 import DownsampleConv, PreActBottleneck
from torch import nn

IN_TIMM = [spec for spec in CATALOGUE.values() if spec.timm]
IN_TORCHVISION = [spec for spec in IN_TIMM if spec.timm in torchvision.models.list_models()]


def outputs(*models, size=(75, 64)):
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        return [model(image) for model in models]


def test_what_torchvision_and_timm_have():
    assert {spec.name for spec in IN_TIMM} - {spec.name for spec in IN_TORCHVISION} == {"resnext101_32x4d"}
    assert len(IN_TIMM) == 15 + 1


@pytest.mark.parametrize("spec", IN_TORCHVISION, ids=lambda s: s.name)
def test_torchvisions_weights_give_torchvisions_logits(spec):
    theirs = make_norms_matter(quickly_filled(lambda: torchvision.models.get_model(spec.timm, num_classes=5)))
    ours = unfilled(lambda: spec.build(5)).eval()
    load_state(ours, theirs.state_dict(), "theirs")
    expected, got = outputs(theirs, ours)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", IN_TIMM, ids=lambda s: s.name)
def test_timms_weights_give_timms_logits(spec):
    theirs = quickly_filled(lambda: timm.create_model(spec.timm, num_classes=5))
    size = (75, 64)
    if isinstance(spec, VGGSpec):
        size = (224, 224)  # timm runs the fully connected layers as convolutions, and pools after them
    else:
        make_norms_matter(theirs)
    ours = unfilled(lambda: spec.build(5)).eval()
    load_state(ours, weights_in(theirs.state_dict(), "theirs").state, "theirs")
    expected, got = outputs(theirs, ours, size=size)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


WAYS_BACK = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("to", WAYS_BACK)
def test_the_way_back_to_torchvision_and_timm(to, suffix, tmp_path):
    ours = make_norms_matter(get_spec("resnext50_32x4d").build(7))
    torch.save({"model": ours.state_dict(), "arch": "resnext50_32x4d"}, tmp_path / "ours.pth")
    export(tmp_path / "ours.pth", tmp_path / "there" / f"w.{suffix}", to)
    content = read_checkpoint(tmp_path / "there" / f"w.{suffix}")
    theirs = WAYS_BACK[to]("resnext50_32x4d", num_classes=7).eval()
    theirs.load_state_dict(content.get("model", content))
    expected, got = outputs(ours, theirs)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_the_way_back_of_vgg_to_timm():
    ours = quickly_filled(lambda: get_spec("vgg16").build(7))
    theirs = unfilled(lambda: timm.create_model("vgg16", num_classes=7)).eval()
    theirs.load_state_dict(to_timm_vgg(ours.state_dict()))
    expected, got = outputs(ours, theirs, size=(224, 224))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_export_tool(tmp_path):
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "theirs.pth")
    done = run_tool("export.py", tmp_path / "theirs.pth", "--to", "residet", "--output", tmp_path / "ours.safetensors")
    assert done.returncode == 0 and "entries of resnet18 for residet; pixels not known" in done.stdout, done.stderr
    assert read_weights(tmp_path / "ours.safetensors").arch == "resnet18"
    assert_clear_error(run_tool("export.py", "none.pth", "--to", "timm", "--output", "out.pth"), "none.pth")


def test_export_says_what_cannot_be(tmp_path):
    for name, to, output, message in (
        ("plain18", "timm", "out.pth", "timm does not have this network"),
        ("resnext101_32x4d", "torchvision", "out.pth", "torchvision does not have this network"),
        ("preact_resnet200", "detectron2", "out.pth", "detectron2 does not have this network"),
        ("cifar_resnext29_8x64d", "detectron2", "out.pth", "detectron2 does not have this network"),
        ("resnet18", "timm", "out.pkl", "write a .pth or .safetensors file"),
        ("resnet18", "detectron2", "out.safetensors", "write a .pth file"),
    ):
        path = tmp_path / "w.pth"
        torch.save({"model": ResidualNet(get_spec(name), 2).state_dict(), "arch": name}, path)
        with pytest.raises(InputError, match=message):
            export(path, tmp_path / output, to)


# Pre-activation and the forms of ResNeXt


def test_pre_activation_blocks_are_timms():
    spec = dataclasses.replace(get_spec("preact_resnet200"), depths=(1, 3, 1, 1))
    x = torch.randn(2, 256, 15, 15)
    ours = make_norms_matter(build_stage(spec, "res3"), x)
    layers = {"conv_layer": nn.Conv2d, "norm_layer": timm.layers.BatchNormAct2d}
    theirs = nn.Sequential(
        PreActBottleneck(256, 512, stride=2, proj_layer=DownsampleConv, **layers),
        *(PreActBottleneck(512, 512, **layers) for _ in range(2)),
    )
    for mine, block in zip(ours, theirs, strict=True):
        block.conv1, block.conv2, block.conv3 = mine.conv1, mine.conv2, mine.conv3  # theirs have a bias
        if block.downsample is not None:
            block.downsample.conv = mine.downsample[0]
        for i in (1, 2, 3):
            getattr(block, f"norm{i}").load_state_dict(getattr(mine, f"bn{i}").state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnext50_2x40d"])
def test_the_three_forms_are_the_same(name):
    """ResNeXt, Fig. 3 and footnote 6: outputs and, mapped as the weights are, gradients."""
    spec = dataclasses.replace(get_spec(name), depths=(2, 1, 1, 1))
    nets = {form: ResidualNet(dataclasses.replace(spec, form=form), 3) for form in "abc"}
    make_norms_matter(nets["c"])
    for form in "ab":
        load_state(nets[form], convert_form(nets["c"].state_dict(), form, spec.groups), form)
    assert nets["a"].layer1[0].paths[1].conv3.weight.shape == (256, spec.inner_widths[0] // spec.groups, 1, 1)
    assert isinstance(nets["b"].layer1[0].conv3, nn.Conv2d) and len(nets["b"].layer1[0].paths) == spec.groups
    a, b, c = outputs(*(nets[form].eval() for form in "abc"))
    torch.testing.assert_close(a, c, rtol=0, atol=1e-5)
    torch.testing.assert_close(b, c, rtol=0, atol=1e-5)

    image, grads = torch.randn(4, 3, 64, 64), {}
    for form, net in nets.items():
        net.double().train()(image.double()).square().mean().backward()  # double, for gradients pass many sums
        grads[form] = convert_form({k: p.grad for k, p in net.named_parameters()}, "c", spec.groups)
    for form in "ab":
        assert grads[form].keys() == grads["c"].keys()
        for key, expected in grads["c"].items():
            torch.testing.assert_close(grads[form][key], expected, rtol=0, atol=1e-10)


def test_blocks_that_fig_3_does_not_show_have_no_other_form():
    for name in ("resnet18", "resnet50_caffe", "preact_resnet200", "cifar_wrn13_1_b131_d0.3"):
        with pytest.raises(ValueError, match=r"no form \(a\) of such a block"):
            dataclasses.replace(get_spec(name), form="a")


def test_forms_map_there_and_back():
    spec = get_spec("cifar_resnext29_8x64d")
    state = ResidualNet(spec, 10).state_dict()
    for way in (("a", "c"), ("b", "c"), ("a", "b", "c"), ("b", "a", "c")):
        mapped = state
        for form in way:
            mapped = convert_form(mapped, form, spec.groups)
        assert mapped.keys() == state.keys()
        assert all(torch.equal(mapped[k], v) for k, v in state.items())


@pytest.mark.parametrize("form", ["a", "b"])
def test_a_form_trains_to_the_same_network(form):
    """ResNeXt, section 4: "strictly equivalent, given appropriate treatments of BN and ReLU. We have trained all three

    forms and obtained the same results."
    """
    spec = get_spec("cifar_resnext29_8x64d")
    small = {"depths": (1, 1), "widths": (32, 64), "inner_widths": (16, 32), "stem_width": 8}
    networks = [dataclasses.replace(s, **small).build(3).double() for s in (spec, get_spec(f"{spec.name}_form_{form}"))]
    assert networks[1].spec.form == form
    networks[1].load_state_dict(convert_form(networks[0].state_dict(), form, spec.groups))
    before = {k: v.clone() for k, v in networks[0].state_dict().items()}
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        images, labels = torch.randn(4, 3, 8, 8, generator=generator).double(), torch.arange(4) % 3
        for network in networks:
            optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    trained = networks[0].state_dict()
    again = convert_form(networks[1].state_dict(), "c", spec.groups)
    assert all(torch.allclose(again[k], trained[k], atol=1e-9) for k in trained)
    assert not torch.allclose(before["layer1.0.conv2.weight"], trained["layer1.0.conv2.weight"], atol=1e-4)


def test_forms_go_by_name():
    assert (get_spec("resnext50_32x4d_form_b").form, get_spec("resnext50_32x4d_form_b").in_detectron2) == ("b", False)
    for name in ("resnet18", "vgg16", "preact_resnet200"):
        with pytest.raises(InputError, match=f"{name}_form_a: the blocks of {name} have no such form"):
            get_spec(f"{name}_form_a")
