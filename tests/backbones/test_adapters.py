"""The networks in other detectors, each trained for a few steps: torchvision's, and detectron2's stock ones."""

from backbones.adapters import backbone_for_torchvision
from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.registry import backbone_for_detectron2
from backbones.resnet import ResidualNet
from backbones.weights.read import IMAGENET_MEAN

import pytest
import timm
import torch
import torchvision
from detectron2 import model_zoo
from detectron2.config import LazyCall, instantiate
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

BOX = [8.0, 8.0, 50.0, 56.0]


def train_a_few_steps(model, losses_of, last_stage, steps=6):
    """Within some steps the loss of one image falls, and the last stage of the network takes part."""
    before = last_stage[0].conv1.weight.detach().clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
    losses = []
    for _ in range(steps):
        torch.manual_seed(0)  # the same anchors and proposals are drawn
        loss = sum(losses_of().values())
        assert torch.isfinite(loss)
        losses.append(loss.item())
        if losses[-1] < losses[0]:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
    assert losses[-1] < losses[0], losses
    assert not torch.equal(before, last_stage[0].conv1.weight)


# torchvision

PYRAMID = {"returned_layers": (2, 3, 4)}
TORCHVISION = [
    (FasterRCNN, "resnet18", {}),
    (MaskRCNN, "resnext50_32x4d", {}),
    (RetinaNet, "wrn18_1.5", PYRAMID),
    (FCOS, "resnet34_a", PYRAMID),
    (FasterRCNN, "preact_resnet200", {}),
]


@pytest.mark.parametrize(("detector", "name", "options"), TORCHVISION, ids=lambda x: getattr(x, "__name__", str(x)))
def test_torchvisions_detectors_train(detector, name, options):
    if options:
        options = {**options, "extra_blocks": LastLevelP6P7(256, 256)}
    backbone = backbone_for_torchvision(name, **options)
    sizes = {"min_size": 64, "max_size": 64, "image_mean": backbone.image_mean, "image_std": backbone.image_std}
    model = detector(backbone, num_classes=3, **sizes)
    image, target = torch.rand(3, 64, 64), {"boxes": torch.tensor([BOX]), "labels": torch.tensor([1])}
    if detector is MaskRCNN:
        target["masks"] = torch.ones(1, 64, 64, dtype=torch.uint8)
    train_a_few_steps(model, lambda: model([image, image], [target, target]), backbone.body.layer4)
    model.eval()
    with torch.no_grad():
        assert set(model([image])[0]) >= {"boxes", "labels", "scores"}


def test_backbone_is_torchvisions_own(tmp_path):
    """The same file, the same pyramid: torchvision's builder and ours give the same maps."""
    theirs = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    ours = backbone_for_torchvision("resnet18", pretrained=tmp_path / "w.pth")
    theirs.body.load_state_dict(
        {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}, strict=False
    )
    theirs.fpn.load_state_dict(ours.fpn.state_dict())
    image = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        expected, got = theirs(image), ours(image)
    assert list(got) == list(expected) == ["0", "1", "2", "3", "pool"]
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=0, atol=1e-5)
    trainable = {k for k, p in theirs.named_parameters() if p.requires_grad}
    assert trainable == {k for k, p in ours.named_parameters() if p.requires_grad}
    assert ours.image_mean == pytest.approx([0.485, 0.456, 0.406]) and ours.image_std == pytest.approx(
        [0.229, 0.224, 0.225]
    )


def test_weights_for_bgr_are_turned_to_rgb(tmp_path):
    network = ResidualNet(get_spec("resnet18"), 2).eval()
    about = {"arch": "resnet18", "mean": IMAGENET_MEAN[::-1], "std": (1.0, 2.0, 3.0), "channel_order": "BGR"}
    torch.save({"model": network.state_dict(), **about}, tmp_path / "w.pth")
    backbone = backbone_for_torchvision("resnet18", pretrained=tmp_path / "w.pth")
    rgb = torch.rand(1, 3, 64, 64) * 255
    mean, std = (torch.tensor(v).view(-1, 1, 1) * 255 for v in (backbone.image_mean, backbone.image_std))
    with torch.no_grad():
        bgr = (rgb.flip(1) - torch.tensor(about["mean"]).view(-1, 1, 1)) / torch.tensor(about["std"]).view(-1, 1, 1)
        expected = network.feature_maps(bgr)["res2"]
        got = torch.nn.Sequential(*list(backbone.body.children())[:5])((rgb - mean) / std)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(InputError, match="take a network with maps res2 to res5"):
        backbone_for_torchvision("cifar_resnet20")
    for layers in ((), (1, 5), (0, 1), (4, 3), (2, 2)):
        with pytest.raises(InputError, match="returned_layers"):
            backbone_for_torchvision("resnet18", returned_layers=layers)
    with pytest.raises(InputError, match="trainable_layers: 6"):
        backbone_for_torchvision("resnet18", trainable_layers=6)
    torch.save({"model": ResidualNet(get_spec("resnet18"), 2).state_dict(), "arch": "resnet18"}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds resnet18, the model is resnet34"):
        backbone_for_torchvision("resnet34", pretrained=tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["resnet50", "resnext101_32x4d"])
def test_feature_info_is_timms(name):
    with torch.device("meta"):
        ours = ResidualNet(get_spec(name), None).feature_info[1:]
        theirs = timm.create_model(name).feature_info[1:]
    assert [{k: v for k, v in info.items() if k != "name"} for info in ours] == theirs


# detectron2

STOCK = {
    "faster_rcnn": ("build_{}_fpn_backbone", "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"),
    "retinanet": ("build_retinanet_{}_fpn_backbone", "COCO-Detection/retinanet_R_50_FPN_1x.yaml"),
    "mask_rcnn": ("build_{}_fpn_backbone", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"),
    "cascade": ("build_{}_fpn_backbone", "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml"),
}


def detectron2_image():
    target = Instances((64, 64))
    target.gt_boxes = Boxes(torch.tensor([BOX]))
    target.gt_classes = torch.tensor([3])
    target.gt_masks = BitMasks(torch.ones(1, 64, 64))
    return [{"image": torch.randint(256, (3, 64, 64), dtype=torch.uint8), "instances": target}]


@pytest.mark.parametrize(
    ("detector", "name"),
    [
        *((detector, "resnet18") for detector in STOCK),
        *(("faster_rcnn", name) for name in ("wrn34_1.5", "resnext50_32x4d", "plain18")),
        *(("retinanet", name) for name in ("resnet34_c", "preact_resnet200", "resnet50_caffe")),
    ],
)
def test_stock_detectron2_by_config_name_alone(detector, name):
    builder, config = STOCK[detector]
    cfg = model_zoo.get_config(config)
    cfg.MODEL.BACKBONE.NAME = builder.format(name)
    cfg.MODEL.RESNETS.NORM, cfg.MODEL.PIXEL_STD = "BN", [57.0, 57.0, 57.0]
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "cpu"
    if detector == "mask_rcnn":
        cfg.INPUT.MASK_FORMAT = "bitmask"
    model = build_model(cfg)
    model._ema_update = lambda *_: 10.0  # RetinaNet's losses would grow as their normaliser falls to its mean
    data = 2 * detectron2_image()
    stage = model.backbone.bottom_up.layer4
    train_a_few_steps(model, lambda: model(data), stage)
    model.eval()
    with torch.no_grad():
        assert "instances" in model(data)[0]


def test_lazy_config():
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py").model
    maps = ["res2", "res3", "res4", "res5"]
    cfg.backbone.bottom_up = LazyCall(backbone_for_detectron2)(
        arch="resnet18", out_features=maps, norm="BN", freeze_at=1
    )
    cfg.pixel_std = [57.0, 57.0, 57.0]
    model = instantiate(cfg)
    data = 2 * detectron2_image()
    train_a_few_steps(model, lambda: model(data), model.backbone.bottom_up.layer4)
    assert not model.backbone.bottom_up.conv1.weight.requires_grad


def test_every_imagenet_row_gives_a_pyramid():
    """Built in detectron2 without computing: channels and strides fit each other."""
    for spec in CATALOGUE.values():
        if getattr(spec, "stem", "") != "imagenet":
            continue
        with torch.device("meta"):
            cfg = model_zoo.get_config(STOCK["faster_rcnn"][1])
            cfg.MODEL.BACKBONE.NAME, cfg.MODEL.DEVICE = f"build_{spec.name}_fpn_backbone", "meta"
            maps = build_model(cfg).backbone(torch.empty(1, 3, 64, 96))
        assert {k: tuple(v.shape) for k, v in maps.items()} == {
            f"p{i}": (1, 256, 64 // 2**i, 96 // 2**i if i < 6 else 2) for i in range(2, 7)
        }
