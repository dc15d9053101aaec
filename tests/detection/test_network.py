"""--arch: a config with another network is the config that residet has of that network."""

from backbones.catalogue import CATALOGUE
from backbones.errors import InputError
from detection.config import default_config
from detection.network import in_words, put_network
from residet.cli.configs import config_names
from residet.config import merge_config

import pytest

# Not those of paper/resnet: there "resnet50" stands for the variant of the paper, resnet50_caffe.
KINDS = ("faster_rcnn_{}", "faster_rcnn_{}_fpn", "voc/faster_rcnn_{}_voc07")
OF_NETWORKS = [(kind, arch) for kind in KINDS for arch in CATALOGUE if kind.format(arch) in config_names()]


def config(name):
    cfg = default_config()
    merge_config(cfg, name, [])
    return cfg


@pytest.mark.parametrize(("kind", "arch"), OF_NETWORKS)
def test_another_network_gives_the_config_of_that_network(kind, arch):
    for start in ("resnet50", "vgg16"):
        if (kind, start) in OF_NETWORKS:
            cfg = config(kind.format(start))
            put_network(cfg, arch)
            assert cfg == config(kind.format(arch))


def test_every_network_of_imagenet_takes_part():
    cfg = config("faster_rcnn_resnet50")
    archs = [name for name, spec in CATALOGUE.items() if spec.input_size >= 224]
    assert len(archs) > 20
    for arch in archs:
        put_network(cfg, arch)
        assert arch in in_words(cfg)


@pytest.mark.parametrize(
    ("name", "arch", "words"),
    [
        ("faster_rcnn_resnet50", "resnet51", "did you mean resnet50"),
        ("faster_rcnn_resnet50", "cifar_resnet20", "for images of 32 px"),
        ("faster_rcnn_resnet50_fpn", "vgg16", "takes no feature pyramid"),
    ],
)
def test_a_network_that_does_not_go_is_refused(name, arch, words):
    cfg = config(name)
    with pytest.raises(InputError, match=words):
        put_network(cfg, arch)
    assert cfg == config(name)
