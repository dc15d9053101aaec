"""A network of another kind is one file (the two classes below) and one row: `register_network`."""

from dataclasses import dataclass
from typing import ClassVar

import backbones
from backbones.adapters import backbone_for_torchvision
from backbones.catalogue import CATALOGUE
from backbones.errors import InputError
from backbones.interface import FeatureNetwork, NetworkSpec
from backbones.registry import register_network
from backbones.weights.read import read_weights
from detection.checkpoint import load_detector

import pytest
import torch
from detection_configs import load_config
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from regions import SMALL, example
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt


class TinyConvNeXt(FeatureNetwork):
    """torchvision's ConvNeXt with its feature maps."""

    def __init__(self, spec, num_classes=1000, norm=None, stages=None):
        super().__init__()
        self.spec = spec
        widths = [*list(spec.channels.values())[1:], None]
        blocks = [CNBlockConfig(widths[i], widths[i + 1], 1) for i in range(4)]
        theirs = ConvNeXt(blocks, num_classes=num_classes or 1)
        groups = {"stem": (0,), "res2": (1,), "res3": (2, 3), "res4": (4, 5), "res5": (6, 7)}
        self._groups = dict(list(groups.items())[: None if stages is None else stages + 1])
        self.features = theirs.features[: max(sum(self._groups.values(), ())) + 1]
        self.avgpool, self.classifier = theirs.avgpool, theirs.classifier if num_classes else None

    @property
    def feature_groups(self):
        return {name: tuple(f"features.{i}" for i in group) for name, group in self._groups.items()}

    def feature_maps(self, x):
        maps = {}
        for name, group in self._groups.items():
            for i in group:
                x = self.features[i](x)
            maps[name] = x
        return maps

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)))


@dataclass(frozen=True)
class ConvNeXtSpec(NetworkSpec):
    name: str
    widths: tuple[int, ...]
    published: tuple = ()
    timm: str = ""

    network: ClassVar = TinyConvNeXt
    strides: ClassVar = {"stem": 4, "res2": 4, "res3": 8, "res4": 16, "res5": 32}
    num_classes: ClassVar = 1000
    input_size: ClassVar = 224
    last_layer: ClassVar = "classifier.2"
    classifier_prefix: ClassVar = "classifier."

    @property
    def channels(self):
        return dict(zip(self.strides, (self.widths[0], *self.widths), strict=True))


@pytest.fixture(scope="module")
def row():
    spec = ConvNeXtSpec("tiny_convnext", (8, 16, 24, 32))
    register_network(spec)
    yield spec
    del CATALOGUE[spec.name]
    for pattern in ("build_{}_backbone", "build_{}_fpn_backbone", "build_retinanet_{}_fpn_backbone"):
        del BACKBONE_REGISTRY._obj_map[pattern.format(spec.name)]


def test_a_detector_of_its_classifier_trains_a_step(row, tmp_path):
    classifier = backbones.create_network(row.name, num_classes=3)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", *SMALL, "MODEL.BACKBONE.NAME", f"build_{row.name}_fpn_backbone")
    cfg.MODEL.BACKBONE.FREEZE_AT = 1
    model = build_model(cfg)
    load_detector(cfg, model, read_weights(tmp_path / "classifier.pth"), for_training=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    last = "backbone.bottom_up.features.7.0.block.0.weight"
    assert torch.equal(before[last], classifier.features[7][0].block[0].weight)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    sum(model([example()]).values()).backward()
    optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert last in changed
    assert not any(k.startswith("backbone.bottom_up.features.0.") for k in changed)  # the stem is frozen


def test_it_is_in_the_tables_and_in_torchvisions_detectors(row, tmp_path):
    assert backbones.list_networks("tiny*") == [row.name]
    classifier = backbones.create_network(row.name, num_classes=3)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    same = backbones.create_network(row.name, pretrained=tmp_path / "classifier.pth").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(same(image), classifier.eval()(image))
        assert list(backbone_for_torchvision(row.name)(image)) == ["0", "1", "2", "3", "pool"]


def test_what_it_lacks_is_named(row):
    with pytest.raises(InputError, match="tiny_convnext has no stage 5"):
        row.build_region_stage(nn.BatchNorm2d)
    with pytest.raises(InputError, match="has no fully connected layers"):
        row.build_fully_connected(512, 7, 7)
    with pytest.raises(InputError, match="already has a network of that name"):
        register_network(ConvNeXtSpec("resnet18", (8, 16, 24, 32)))
