"""The networks against torchvision's and timm's, and in detectron2's own detectors."""

from backbones.blocks import BasicBlock
from backbones.errors import InputError
from backbones.registry import ResidualBackbone, spec_of_builder
from backbones.resnet import ResidualNet, build_stage
from backbones.spec import CATALOGUE, FEATURES, get_spec

import pytest
import timm
import torch
import torchvision
from detectron2 import model_zoo
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from detectron2.structures import Boxes, Instances

TORCHVISION = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "wrn50_2_bottleneck": "wide_resnet50_2",
    "resnext50_32x4d": "resnext50_32x4d",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_same_logits_as_torchvision(name):
    theirs = torchvision.models.get_model(TORCHVISION[name]).eval()
    for m in theirs.modules():  # so that norms do something
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.uniform_(-0.1, 0.1)
            m.running_var.uniform_(0.8, 1.2)
    ours = ResidualNet(get_spec(name)).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-5)


def test_resnext101_has_timms_parameters():
    with torch.device("meta"):
        theirs = timm.create_model("resnext101_32x4d").state_dict()
        ours = ResidualNet(get_spec("resnext101_32x4d")).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("spec", [s for s in CATALOGUE.values() if s.paper_params], ids=lambda s: s.name)
def test_params_are_the_papers(spec):
    with torch.device("meta"):
        params = sum(p.numel() for p in ResidualNet(spec).parameters())
    assert round(params / 1e6, 1) == spec.paper_params


@pytest.mark.parametrize("name", CATALOGUE)
def test_feature_maps_are_as_declared(name):
    spec = get_spec(name)
    net = ResidualBackbone(spec, FEATURES).eval()
    with torch.no_grad():
        maps = net(torch.zeros(1, 3, 64, 96))
    shapes = net.output_shape()
    assert list(maps) == list(FEATURES)
    for key, value in maps.items():
        assert value.shape == (1, shapes[key].channels, 64 // shapes[key].stride, 96 // shapes[key].stride)


def test_every_parameter_gets_a_gradient():
    net = ResidualNet(get_spec("resnet18"), num_classes=3)
    net(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_stage_alone_is_the_networks():
    spec = get_spec("wrn34_2")
    stage = build_stage(spec, "res5")
    assert isinstance(stage[0], BasicBlock) and len(stage) == 3
    assert stage(torch.zeros(2, 512, 14, 14)).shape == (2, 1024, 7, 7)


@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at(freeze_at):
    net = ResidualBackbone(get_spec("resnet18"), ["res5"], "BN", freeze_at)
    parts = {"stem": net.conv1, "res2": net.layer1, "res3": net.layer2, "res4": net.layer3, "res5": net.layer4}
    frozen = [name for name, part in parts.items() if not any(p.requires_grad for p in part.parameters())]
    assert frozen == list(FEATURES[:freeze_at])
    assert isinstance(net.bn1, torch.nn.BatchNorm2d) == (freeze_at == 0)


def test_stages_past_the_last_output_are_not_built():
    assert not hasattr(ResidualBackbone(get_spec("resnet18"), ["res3"]), "layer3")


def test_unknown_arch_suggests_the_nearest():
    with pytest.raises(InputError, match=r"did you mean resnext101_32x4d\?"):
        get_spec("resnext101_32x4")


def test_bad_backbone_keys_are_named():
    with pytest.raises(InputError, match="OUT_FEATURES"):
        ResidualBackbone(get_spec("resnet18"), ["res6"])
    with pytest.raises(InputError, match="FREEZE_AT"):
        ResidualBackbone(get_spec("resnet18"), ["res5"], "BN", 6)


def test_builders_are_registered_and_know_their_network():
    for name in CATALOGUE:
        for pattern in ("build_{}_backbone", "build_{}_fpn_backbone", "build_retinanet_{}_fpn_backbone"):
            assert pattern.format(name) in BACKBONE_REGISTRY
            assert spec_of_builder(pattern.format(name)).name == name
    with pytest.raises(InputError, match="build_ARCH_backbone"):
        spec_of_builder("resnet50")
    with pytest.raises(InputError, match="build_ARCH_backbone"):
        spec_of_builder("build_retinanet_resnet50_backbone")


STOCK = {
    "build_{}_fpn_backbone": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "build_retinanet_{}_fpn_backbone": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
}


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("builder", STOCK)
def test_stock_detectron2_config_by_name_alone(builder, name):
    cfg = model_zoo.get_config(STOCK[builder])
    cfg.MODEL.BACKBONE.NAME = builder.format(name)
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    model = build_model(cfg)
    target = Instances((64, 64))
    target.gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 50.0]]))
    target.gt_classes = torch.tensor([3])
    losses = model([{"image": torch.randint(256, (3, 64, 64), dtype=torch.uint8), "instances": target}])
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    assert model.backbone.bottom_up.layer4[0].conv1.weight.grad is not None
    model.eval()
    with torch.no_grad():
        assert "instances" in model([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}])[0]
