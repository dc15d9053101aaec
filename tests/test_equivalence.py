"""Against the outside: torchvision's, timm's and detectron2's own networks and detectors with the same weights."""

import dataclasses
import pickle

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.export import export
from backbones.files import read_checkpoint
from backbones.forms import convert_form
from backbones.naming import from_caffe2, from_detectron2, to_detectron2
from backbones.networks import build_network
from backbones.registry import ResidualBackbone
from backbones.resnet import ResidualNet, build_stage
from backbones.vgg import VGGSpec
from backbones.weights import IMAGENET_MEAN, load_backbone, load_state, read_weights
from detection.checkpoint import load_detector
from detection.config import default_config

import pytest
import timm
import torch
import torchvision
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from run_tools import assert_clear_error, run_tool
from timm.models.resnetv2 import DownsampleConv, PreActBottleneck
from torch import nn

IN_TIMM = [spec for spec in CATALOGUE.values() if spec.timm]
IN_TORCHVISION = [spec for spec in IN_TIMM if spec.timm in torchvision.models.list_models()]


def make_norms_matter(model, inputs=None):
    """Gives norms random weights, and the statistics of what reaches them, so that signals neither die nor explode."""

    def fit(norm, inputs):
        norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)) + 0.1)
        norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))

    norms = [m for m in model.modules() if hasattr(m, "running_mean")]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1)
        norm.bias.data.uniform_(-0.1, 0.1)
    with torch.no_grad():
        model.eval()(torch.randn(2, 3, 64, 64) if inputs is None else inputs)
    for hook in hooks:
        hook.remove()
    return model


def outputs(*models, size=(75, 64)):
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        return [model(image) for model in models]


def test_what_torchvision_and_timm_have():
    assert {spec.name for spec in IN_TIMM} - {spec.name for spec in IN_TORCHVISION} == {"resnext101_32x4d"}
    assert len(IN_TIMM) == 15 + 1


@pytest.mark.parametrize("spec", IN_TORCHVISION, ids=lambda s: s.name)
def test_torchvisions_weights_give_torchvisions_logits(spec):
    theirs = make_norms_matter(torchvision.models.get_model(spec.timm, num_classes=5))
    ours = build_network(spec, 5).eval()
    load_state(ours, theirs.state_dict(), "theirs")
    expected, got = outputs(theirs, ours)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", IN_TIMM, ids=lambda s: s.name)
def test_timms_weights_give_timms_logits(spec, tmp_path):
    theirs = timm.create_model(spec.timm, num_classes=5).eval()
    size = (75, 64)
    if isinstance(spec, VGGSpec):
        size = (224, 224)  # timm runs the fully connected layers as convolutions, and pools after them
    else:
        make_norms_matter(theirs)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build_network(spec, 5).eval()
    load_state(ours, read_weights(tmp_path / "theirs.pth").state, "theirs")
    expected, got = outputs(theirs, ours, size=size)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_the_way_back_to_torchvision_and_timm(tmp_path):
    ours = make_norms_matter(build_network(get_spec("resnext50_32x4d"), 7))
    torch.save({"model": ours.state_dict(), "arch": "resnext50_32x4d"}, tmp_path / "ours.pth")
    for to, build in (("torchvision", torchvision.models.get_model), ("timm", timm.create_model)):
        for suffix in ("pth", "safetensors"):
            path = tmp_path / f"{to}.{suffix}"
            done = run_tool("export.py", tmp_path / "ours.pth", "--to", to, "--output", path)
            assert done.returncode == 0 and "resnext50_32x4d" in done.stdout, done.stderr
            theirs = build("resnext50_32x4d", num_classes=7).eval()
            theirs.load_state_dict(read_checkpoint(path).get("model", read_checkpoint(path)))
            expected, got = outputs(ours, theirs)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_export_says_what_cannot_be(tmp_path):
    for name, to, output, message in (
        ("plain18", "timm", "out.pth", "timm does not have this network"),
        ("resnext101_32x4d", "torchvision", "out.pth", "torchvision does not have this network"),
        ("preact_resnet200", "detectron2", "out.pth", "detectron2 does not have this network"),
        ("resnet18", "timm", "out.pkl", "write a .pth or .safetensors file"),
        ("resnet18", "detectron2", "out.safetensors", "write a .pth file"),
    ):
        path = tmp_path / "w.pth"
        torch.save({"model": ResidualNet(get_spec(name), 2).state_dict(), "arch": name}, path)
        with pytest.raises(InputError, match=message):
            export(path, tmp_path / output, to)
    assert_clear_error(run_tool("export.py", "none.pth", "--to", "timm", "--output", "out.pth"), "none.pth")


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
            torch.testing.assert_close(grads[form][key], expected, rtol=1e-5, atol=1e-10)


def test_forms_map_there_and_back():
    spec = get_spec("cifar_resnext29_8x64d")
    state = ResidualNet(spec, 10).state_dict()
    for way in (("a", "c"), ("b", "c"), ("a", "b", "c"), ("b", "a", "c")):
        mapped = state
        for form in way:
            mapped = convert_form(mapped, form, spec.groups)
        assert mapped.keys() == state.keys()
        assert all(torch.equal(mapped[k], v) for k, v in state.items())


# detectron2


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
    load_detector(own, model, for_training=False)
    return model.eval()


def write_pkl(state, path, **more):
    with path.open("wb") as f:
        pickle.dump({"model": {k: v.numpy() for k, v in state.items()}, "__author__": "test", **more}, f)


@pytest.mark.parametrize("suffix", ["pth", "pkl"])
@pytest.mark.parametrize(
    ("kind", "depth", "stride_in_1x1"), [("C4", 50, True), ("FPN", 50, False), ("FPN", 101, True), ("C4", 101, False)]
)
def test_detectron2s_detectors_give_the_same_features_and_detections(kind, depth, stride_in_1x1, suffix, tmp_path):
    config = f"COCO-Detection/faster_rcnn_R_50_{kind}_1x.yaml"
    theirs, cfg = stock(config, depth, "MODEL.RESNETS.STRIDE_IN_1X1", stride_in_1x1)
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
            torch.testing.assert_close(backbone.features(inputs)["res4"], expected(inputs)["res4"], rtol=0, atol=1e-4)


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


def test_msras_imagenet_file_is_the_caffe_variant_in_bgr(tmp_path):
    theirs, _ = detectron2_backbone("MODEL.RESNETS.NORM", "FrozenBN")
    blobs = to_caffe2(theirs.state_dict()) | {"conv1_w_momentum": torch.zeros(1).numpy()}
    blobs |= {"pred_w": torch.zeros(10, 2048).numpy(), "pred_b": torch.zeros(10).numpy()}
    path = tmp_path / "R-50.pkl"
    with path.open("wb") as f:
        pickle.dump(blobs, f, protocol=2)  # as Python 2 wrote it
    said = []
    ours = load_backbone(path, report=said.append).eval()
    assert ours.spec.name == "resnet50_caffe" and "265 of 265 entries fit" in said[0]
    assert ours.pretrained_cfg["channel_order"] == "BGR" and ours.pretrained_cfg["std"] == (1.0, 1.0, 1.0)
    assert ours.pretrained_cfg["mean"] == IMAGENET_MEAN[::-1]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = theirs.eval()(image), ours.features(image)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=1e-4, atol=1e-4)


def test_detectron2s_torchvision_file_is_torchvisions_network(tmp_path):
    theirs, _ = detectron2_backbone("MODEL.RESNETS.STRIDE_IN_1X1", False)
    make_norms_matter(theirs)
    path = tmp_path / "R-50.pkl"
    write_pkl(theirs.state_dict(), path, matching_heuristics=True)
    ours = load_backbone(path, report=lambda _: None).eval()
    assert ours.spec.name == "resnet50"
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(image)["res5"], theirs(image)["res5"], rtol=0, atol=1e-4)


def test_the_way_back_to_detectron2(tmp_path):
    ours = make_norms_matter(build_network(get_spec("resnext50_32x4d"), 4))
    torch.save({"model": ours.state_dict(), "arch": "resnext50_32x4d"}, tmp_path / "ours.pth")
    export(tmp_path / "ours.pth", tmp_path / "d2.pth", "detectron2")
    resnext = ("MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    theirs, _ = stock("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", 50, *resnext)
    DetectionCheckpointer(theirs).load(str(tmp_path / "d2.pth"))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = ours.features(image), theirs.backbone.bottom_up.eval()(image)
    for key, value in got.items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4)
    assert from_detectron2(to_detectron2(ours.state_dict())).keys() == ours.state_dict().keys()


def test_caffe2_group_norm_and_statistics_keep_their_place():
    state = {"conv1_w": torch.zeros(1), "res_conv1_bn_s": torch.ones(2), "res_conv1_bn_rm": torch.full((2,), 3.0)}
    state |= {"res2_0_branch2a_gn_s": torch.ones(4), "res_conv1_bn_riv": torch.full((2,), 5.0)}
    names = from_detectron2(from_caffe2(state))
    assert set(names) == {"conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.bn1.weight"}
    assert names["bn1.running_mean"][0] == 3 and names["bn1.running_var"][0] == 5


def test_a_pickle_of_anything_but_arrays_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return print, ("pwned",)

    for content in ({"model": {"a": Payload()}}, {"model": {"a": torch.zeros(1)}}, {"conv1_w": object()}):
        path = tmp_path / "bad.pkl"
        path.write_bytes(pickle.dumps(content) if "conv1_w" in content else _pickled(content))
        with pytest.raises(InputError, match=r"bad\.pkl: refused"):
            read_weights(path)


def _pickled(content):
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError):  # a local class
        return b"cbuiltins\nprint\n(S'pwned'\ntR."


def test_a_network_in_detectron2_is_the_network(tmp_path):
    """The wrapper computes what the network does."""
    network = ResidualNet(get_spec("resnet18"), None).eval()
    backbone = ResidualBackbone("resnet18", ["res2", "res5"]).eval()
    load_state(backbone, network.state_dict(), "network")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, got = network.features(image), backbone(image)
    assert list(got) == ["res2", "res5"] and all(torch.equal(v, expected[k]) for k, v in got.items())
