"""detectron2's files: the same features and detections as detectron2's own networks give, and back again."""

import logging
import os
import pickle
import re

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.weights.export import export
from backbones.weights.files import read_checkpoint
from backbones.weights.load import load_backbone, load_state, spec_of
from backbones.weights.naming import from_caffe2, from_detectron2, to_detectron2
from backbones.weights.read import IMAGENET_MEAN, read_weights, resolve_preprocessing
from detection.checkpoint import load_detector
from detection.config import default_config

import numpy as np
import pytest
import torch
import torchvision
from calibrate import make_norms_matter
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import build_resnet_backbone


def stock(config, depth, *opts):
    """detectron2's own detector, with random weights, and its config."""
    cfg = model_zoo.get_config(config)
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "", "cpu", 3
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.2
    cfg.merge_from_list(list(opts))
    return make_norms_matter(build_model(cfg), [{"image": torch.randint(256, (3, 96, 96), dtype=torch.uint8)}]), cfg


def ours_like(cfg, name, weights):
    """The same detector on our network, filled from detectron2's file."""
    own = default_config()
    own.merge_from_other_cfg(cfg)
    own.MODEL.BACKBONE.NAME, own.MODEL.WEIGHTS = name, str(weights)
    own.DATASETS.CLASSES = ("a", "b", "c")
    if "fpn" not in name:
        own.MODEL.ROI_HEADS.NAME = "ArchRes5ROIHeads"
    model = build_model(own)
    load_detector(own, model, read_weights(own.MODEL.WEIGHTS), for_training=False)
    return model.eval()


def write_pkl(state, path, **more):
    with path.open("wb") as f:
        content = {"model": {k: v.numpy() for k, v in state.items()}, "matching_heuristics": True}
        pickle.dump(content | {"__author__": "Detectron2 Model Zoo"} | more, f)


@pytest.mark.parametrize(
    ("kind", "depth", "stride_in_1x1", "suffix"),
    [("C4", 50, True, "pkl"), ("FPN", 50, False, "pth"), ("FPN", 101, True, "pkl"), ("C4", 101, False, "pth")],
)
def test_detectron2s_detectors_give_the_same_features_and_detections(kind, depth, stride_in_1x1, suffix, tmp_path):
    config = f"COCO-Detection/faster_rcnn_R_50_{kind}_1x.yaml"
    theirs, cfg = stock(
        config, depth, "MODEL.RESNETS.STRIDE_IN_1X1", stride_in_1x1, "MODEL.RPN.POST_NMS_TOPK_TEST", 100
    )
    path = tmp_path / f"detector.{suffix}"
    if suffix == "pkl":
        write_pkl(theirs.state_dict(), path)
    else:
        torch.save({"model": theirs.state_dict(), "iteration": 7}, path)
    arch = f"resnet{depth}" + ("_caffe" if stride_in_1x1 else "")
    ours = ours_like(cfg, f"build_{arch}{'_fpn' if kind == 'FPN' else ''}_backbone", path)
    image = torch.randint(256, (3, 96, 128), dtype=torch.uint8)
    with torch.no_grad():
        inputs = theirs.preprocess_image([{"image": image}]).tensor
        features, expected = ours.backbone(inputs), theirs.backbone(inputs)
        assert features.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(features[key], value, rtol=0, atol=1e-4)
        (found,), (truth,) = ours([{"image": image}]), theirs([{"image": image}])
    found, truth = found["instances"], truth["instances"]
    assert len(truth) > 5
    torch.testing.assert_close(found.pred_boxes.tensor, truth.pred_boxes.tensor, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, truth.scores, rtol=0, atol=1e-4)
    assert torch.equal(found.pred_classes, truth.pred_classes)
    if suffix == "pkl":  # the backbone alone, out of the detector's file
        expected = theirs.backbone if kind == "C4" else theirs.backbone.bottom_up
        backbone = load_backbone(path, arch, report=lambda _: None).eval()
        with torch.no_grad():
            torch.testing.assert_close(
                backbone.feature_maps(inputs)["res4"], expected(inputs)["res4"], rtol=0, atol=1e-4
            )


def detectron2_backbone(*opts):
    cfg = default_config()
    cfg.merge_from_list(["MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"], *opts])
    return build_resnet_backbone(cfg, ShapeSpec(channels=3)), cfg


def to_caffe2(state):
    """MSRA's names and what is left of BN there: one affine map."""
    branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}
    blobs = {}
    for key, value in state.items():
        *block, layer, end = key.replace(".norm.", ".norm_").split(".")
        name = "_".join(block) + f"_branch{branch[layer]}" if block != ["stem"] else "conv1"
        if end == "weight":
            blobs[name + "_w"] = value.numpy()
        elif end in ("norm_weight", "norm_bias"):
            name = "res_conv1" if block == ["stem"] else name
            blobs[name + {"norm_weight": "_bn_s", "norm_bias": "_bn_b"}[end]] = value.numpy()
    return blobs


def write_msra(path):
    """A file as MSRA's: random weights under its names, with what detectron2 leaves out of it."""
    theirs, _ = detectron2_backbone("MODEL.RESNETS.NORM", "FrozenBN")
    for name, value in theirs.state_dict().items():
        if name.endswith("norm.weight"):
            value.uniform_(0.5, 1)
    blobs = to_caffe2(theirs.state_dict()) | {"conv1_w_momentum": torch.zeros(1).numpy()}
    blobs |= {"conv1_b": torch.ones(64).numpy(), "fc1000_w": torch.zeros(10, 2048).numpy()}
    blobs |= {"fc1000_b": torch.zeros(10).numpy()}
    with path.open("wb") as f:
        pickle.dump(blobs, f, protocol=2)  # as Python 2 wrote it


def test_msras_imagenet_file_is_the_caffe_variant_in_bgr(tmp_path):
    path = tmp_path / "R-50.pkl"
    write_msra(path)
    said = []
    ours = load_backbone(path, report=said.append).eval()
    assert ours.spec.name == "resnet50_caffe" and "265 of 265 entries fit" in said[0]
    assert ours.pretrained_cfg["channel_order"] == "BGR" and ours.pretrained_cfg["std"] == (1.0, 1.0, 1.0)
    assert ours.pretrained_cfg["mean"] == IMAGENET_MEAN[::-1]
    theirs, _ = detectron2_backbone("MODEL.RESNETS.NORM", "FrozenBN")
    DetectionCheckpointer(theirs).load(str(path))  # detectron2 reads the same file
    image = 60 * torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = theirs.eval()(image), ours.feature_maps(image)
    for key, value in expected.items():
        scale = value.abs().max()
        assert scale > 0.1
        torch.testing.assert_close(got[key] / scale, value / scale, rtol=0, atol=1e-5)


def test_msras_file_trains_a_detector(tmp_path):
    write_msra(tmp_path / "R-50.pkl")
    cfg = default_config()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.DEVICE = "build_resnet50_caffe_fpn_backbone", "cpu"
    cfg.MODEL.WEIGHTS = str(tmp_path / "R-50.pkl")
    resolve_preprocessing(cfg, read_weights(cfg.MODEL.WEIGHTS))
    assert cfg.INPUT.FORMAT == "BGR" and list(IMAGENET_MEAN[::-1]) == cfg.MODEL.PIXEL_MEAN
    model = build_model(cfg)
    load_detector(cfg, model, read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    expected = read_weights(cfg.MODEL.WEIGHTS).state["layer4.2.conv3.weight"]
    assert torch.equal(model.backbone.bottom_up.layer4[2].conv3.weight, expected)


def as_detectron2_converts_torchvisions(state):
    """The names that detectron2's tools/convert-torchvision-to-d2.py gives."""
    renamed = {}
    for key, value in state.items():
        name = key if "layer" in key else "stem." + key
        name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        renamed[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return renamed


def test_detectron2s_torchvision_file_is_torchvisions_network(tmp_path):
    theirs = make_norms_matter(torchvision.models.resnet50(num_classes=4))
    path = tmp_path / "R-50.pkl"
    write_pkl(as_detectron2_converts_torchvisions(theirs.state_dict()), path, __author__="torchvision")
    weights = read_weights(path)
    assert (weights.channel_order, weights.mean) == ("RGB", IMAGENET_MEAN)
    assert spec_of(weights).name == "resnet50"
    ours = get_spec("resnet50").build(4).eval()
    load_state(ours, weights.state, "R-50.pkl")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-5)
    again, _ = detectron2_backbone("MODEL.RESNETS.STRIDE_IN_1X1", False)
    DetectionCheckpointer(again).load(str(path))
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(image)["res5"], ours.feature_maps(image)["res5"], rtol=0, atol=1e-4)


def test_a_detectron2_detector_that_does_not_say_its_pixels_is_not_guessed(tmp_path, caplog, monkeypatch):
    theirs, _ = detectron2_backbone()
    path = tmp_path / "detector.pth"
    torch.save({"model": {f"backbone.bottom_up.{k}": v for k, v in theirs.state_dict().items()}}, path)
    with pytest.raises(InputError, match="names no network and fits resnet50, resnet50_caffe, resnext50_1x64d"):
        load_backbone(path)
    monkeypatch.setattr(logging.getLogger("residet"), "propagate", True)
    load_backbone(path, "resnet50_caffe", report=lambda _: None)
    assert not caplog.text
    load_backbone(path, "resnet50", report=lambda _: None)
    assert "use resnet50_caffe" in caplog.text


@pytest.mark.parametrize(
    ("mean", "order"), [((103.53, 116.28, 123.675), "BGR"), (IMAGENET_MEAN, "RGB"), ((127.5,) * 3, None)]
)
def test_what_an_old_detectors_pixels_say(mean, order, tmp_path):
    state = {f"backbone.{k}": v for k, v in detectron2_backbone()[0].state_dict().items()}
    state |= {"pixel_mean": torch.tensor(mean).view(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save(
        {"model": state | {"proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}}, tmp_path / "d.pth"
    )
    weights = read_weights(tmp_path / "d.pth")
    assert weights.channel_order == order and weights.mean == pytest.approx(mean)
    assert not any("anchor" in k or "pixel" in k for k in weights.state)
    if order:
        assert spec_of(weights).name == {"BGR": "resnet50_caffe", "RGB": "resnet50"}[order]


def test_the_way_back_to_detectron2(tmp_path):
    ours = make_norms_matter(get_spec("resnext50_32x4d").build(4))
    torch.save({"model": ours.state_dict(), "arch": "resnext50_32x4d"}, tmp_path / "ours.pth")
    export(tmp_path / "ours.pth", tmp_path / "d2.pth", "detectron2")
    resnext = ("MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    theirs, _ = stock("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", 50, *resnext)
    DetectionCheckpointer(theirs).load(str(tmp_path / "d2.pth"))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = ours.feature_maps(image), theirs.backbone.bottom_up.eval()(image)
    for key, value in got.items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4)
    assert from_detectron2(to_detectron2(ours.state_dict())).keys() == ours.state_dict().keys()


def test_caffe2_group_norm_and_statistics_keep_their_place():
    state = {"conv1_w": torch.zeros(1), "res_conv1_bn_s": torch.ones(2), "res_conv1_bn_rm": torch.full((2,), 3.0)}
    state |= {"res2_0_branch2a_gn_s": torch.ones(4), "res_conv1_bn_riv": torch.full((2,), 5.0)}
    names = from_detectron2(from_caffe2(state))
    assert set(names) == {"conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.bn1.weight"}
    assert names["bn1.running_mean"][0] == 3 and names["bn1.running_var"][0] == 5


class Payload:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_pickle_of_anything_but_arrays_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strings = np.array(["text"])
    objects = np.array([{}], dtype=object)
    for content in ({"model": {"a": Payload()}}, {"a": torch.zeros(1)}, {"conv1_w": strings}, {"conv1_w": objects}):
        path = tmp_path / "bad.pkl"
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=r"bad\.pkl: refused"):
            read_weights(path)
    assert not os.path.exists("pwned")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_every_protocol_are_read(protocol, tmp_path):
    blobs = {"conv1_w": np.ones((2, 3), np.float32), "cfg": "text", "scale": np.float32(2)}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=protocol))
    content = read_checkpoint(tmp_path / "w.pkl")["blobs"]
    assert torch.equal(content["conv1_w"], torch.ones(2, 3)) and content["scale"] == 2 and content["cfg"] == "text"
