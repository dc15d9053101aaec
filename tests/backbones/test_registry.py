"""The networks in detectron2's registry."""

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.registry import backbone_for_detectron2, spec_of_builder
from backbones.resnet import ResidualNet
from backbones.spec import FEATURES
from backbones.vgg import VGGSpec
from backbones.weights.load import load_state

import pytest
import torch
from detectron2.layers.batch_norm import FrozenBatchNorm2d, LayerNorm
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn


@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at(freeze_at):
    net = backbone_for_detectron2("resnet18", ["res5"], "BN", freeze_at)
    parts = {"stem": net.conv1, "res2": net.layer1, "res3": net.layer2, "res4": net.layer3, "res5": net.layer4}
    frozen = [name for name, part in parts.items() if not any(p.requires_grad for p in part.parameters())]
    assert frozen == list(FEATURES[:freeze_at])
    assert isinstance(net.bn1, nn.BatchNorm2d) == (freeze_at == 0)
    if freeze_at < 5:  # the rest trains
        net(torch.randn(2, 3, 64, 64))["res5"].sum().backward()
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


NORMS = {"BN": nn.BatchNorm2d, "FrozenBN": FrozenBatchNorm2d, "SyncBN": nn.SyncBatchNorm, "GN": nn.GroupNorm}
NORMS |= {"LN": LayerNorm}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["resnet18", "preact_resnet200"])
def test_norms(norm, name):
    with torch.device("meta" if name == "preact_resnet200" else "cpu"):
        net = backbone_for_detectron2(name, ["res5"], norm)
        if norm == "SyncBN":
            net.eval()  # it trains on GPUs only
        assert isinstance(net.bn1, NORMS[norm]) and isinstance(net.layer4[0].bn2, NORMS[norm])
        out = net(torch.randn(2, 3, 64, 64))["res5"]
    assert out.shape == (2, net.spec.widths[-1], 2, 2)


def test_a_norm_that_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"MODEL\.RESNETS: NORM GN, .* does not fit resnext50_2x40d"):
        backbone_for_detectron2("resnext50_2x40d", ["res5"], "GN")


def test_stages_past_the_last_output_are_not_built():
    assert not hasattr(backbone_for_detectron2("resnet18", ["res3"]), "layer3")


def test_bad_backbone_keys_are_named():
    with pytest.raises(InputError, match="OUT_FEATURES"):
        backbone_for_detectron2("resnet18", ["res6"])
    with pytest.raises(InputError, match="FREEZE_AT"):
        backbone_for_detectron2("resnet18", ["res5"], "BN", 6)


def test_vgg_maps_are_as_declared_and_frozen_from_the_front():
    net = backbone_for_detectron2(get_spec("vgg16"), ["conv3", "conv5"], freeze_at=2)
    with torch.no_grad():
        maps = net(torch.zeros(1, 3, 70, 101))
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {"conv3": (256, 17, 25), "conv5": (512, 4, 6)}
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {"conv3": (256, 4), "conv5": (512, 16)}
    frozen = [k for k, p in net.named_parameters() if not p.requires_grad]
    assert frozen == [f"features.{i}.{p}" for i in (0, 2, 5, 7) for p in ("weight", "bias")]
    assert len(backbone_for_detectron2(get_spec("vgg16"), ["conv2"]).features) == 9
    with pytest.raises(InputError, match="OUT_FEATURES"):
        backbone_for_detectron2(get_spec("vgg16"), ["res4"])


def test_builders_are_registered_and_know_their_network():
    patterns = ("build_{}_backbone", "build_{}_fpn_backbone", "build_retinanet_{}_fpn_backbone")
    for spec in CATALOGUE.values():
        vgg = isinstance(spec, VGGSpec)
        for pattern in patterns:
            name = pattern.format(spec.name)
            registered = pattern == patterns[0] if vgg else spec.stem == "imagenet"
            assert (name in BACKBONE_REGISTRY) == registered
            if registered:
                assert spec_of_builder(name) is spec
    for name in ("resnet50", "build_retinanet_resnet50_backbone", "build_cifar_resnet20_backbone"):
        with pytest.raises(InputError, match="build_ARCH_backbone"):
            spec_of_builder(name)


def test_a_network_in_detectron2_is_the_network():
    """The wrapper computes what the network does."""
    network = ResidualNet(get_spec("resnet18"), None).eval()
    backbone = backbone_for_detectron2("resnet18", ["res2", "res5"]).eval()
    load_state(backbone, network.state_dict(), "network")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = network.feature_maps(image), backbone(image)
    assert list(got) == ["res2", "res5"] and all(torch.equal(v, expected[k]) for k, v in got.items())
