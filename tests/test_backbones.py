"""The networks by themselves: shapes, gradients, options."""

import dataclasses

from backbones.blocks import Block
from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.networks import build_network
from backbones.registry import ResidualBackbone, VGGBackbone, spec_of_builder
from backbones.resnet import LAYER_OF_STAGE, ResidualNet, build_stage
from backbones.spec import FEATURES, ArchSpec
from backbones.vgg import VGGSpec

import pytest
import torch
from detectron2.layers.batch_norm import FrozenBatchNorm2d, LayerNorm
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

RESIDUAL = [spec for spec in CATALOGUE.values() if isinstance(spec, ArchSpec)]
IMAGENET = [spec for spec in RESIDUAL if spec.stem == "imagenet"]
# One for each kind of block, shortcut and stem; small.
KINDS = ["resnet18", "plain18", "resnet18_a", "resnet34_c", "resnet50_caffe", "resnext50_32x4d", "wrn18_1.5"]
KINDS += [
    "cifar_resnet20",
    "cifar_plain20",
    "cifar_preact_resnet110",
    "cifar_preact_resnet164",
    "cifar_resnext29_8x64d",
]
KINDS += ["cifar_wrn10_2", "cifar_wrn13_2_b131", "cifar_wrn13_2_b311_d0.3", "cifar_wrn7_2_b3"]


def name_of(spec):
    return spec.name


@pytest.mark.parametrize("spec", RESIDUAL, ids=name_of)
def test_maps_are_as_declared_also_of_odd_sizes(spec):
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = ResidualNet(spec, spec.num_classes)
        image = torch.empty(2, 3, 75, 101)
        maps = network.features(image)
        logits = network(image)
    assert logits.shape == (2, spec.num_classes)
    assert list(maps) == ["stem", *spec.stages] == [info["name"] for info in network.feature_info]
    for info in network.feature_info:
        stride = info["reduction"]
        assert maps[info["name"]].shape == (2, info["num_chs"], -(-75 // stride), -(-101 // stride))
        assert network.get_submodule(info["module"]) is not None


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_gets_a_gradient_and_evaluation_runs(name):
    spec = get_spec(name)
    network = ResidualNet(spec, num_classes=3)
    size = 33 if spec.stem == "cifar" else 65
    network(torch.randn(2, 3, size, size)).square().sum().backward()
    without = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without
    network.eval()
    with torch.no_grad():
        assert torch.isfinite(network(torch.randn(1, 3, size, size))).all()


@pytest.mark.parametrize("spec", RESIDUAL, ids=name_of)
def test_every_row_has_the_blocks_it_declares(spec):
    """Depth in the name: convolutions on the longest way and the classifier."""
    with torch.device("meta"):
        network = ResidualNet(spec, num_classes=None)
    for stage, depth in zip(spec.stages, spec.depths, strict=True):
        blocks = [m for m in getattr(network, LAYER_OF_STAGE[stage]) if isinstance(m, Block)]
        assert len(blocks) == depth
    ways = sum(len(m.layers) for m in network.modules() if isinstance(m, Block))
    if not spec.name.startswith("cifar_wrn"):  # they count the projections too
        assert str(ways + 2) in spec.name or spec.name.startswith("wrn")


def projections(network):
    return sum(isinstance(m.downsample, nn.Sequential) for m in network.modules() if isinstance(m, Block))


def test_shortcut_options():
    with torch.device("meta"):
        nets = {name: ResidualNet(get_spec(name)) for name in ("resnet34_a", "resnet34", "resnet34_c", "plain34")}
    # The paper: B projects where the shape changes, C everywhere (16 blocks); A and plain have no parameters there.
    assert {name: projections(net) for name, net in nets.items()} == {
        "resnet34_a": 0,
        "resnet34": 3,
        "resnet34_c": 16,
        "plain34": 0,
    }
    assert nets["resnet34_a"].state_dict().keys() == nets["plain34"].state_dict().keys()


def test_option_a_is_a_strided_identity_with_zeros():
    block = ResidualNet(get_spec("resnet18_a"), None).layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 64, 6, 6)
    with torch.no_grad():
        out = block(x)
    assert torch.equal(out[:, :64], x[:, :, ::2, ::2]) and not out[:, 64:].any()


def test_plain_blocks_have_no_way_around():
    block = ResidualNet(get_spec("plain18"), None).layer1[0].eval()
    nn.init.zeros_(block.bn2.weight)
    assert not block(torch.rand(1, 64, 6, 6)).any()


def test_where_the_stride_is():
    for name, strides in (("resnet50", (1, 2, 1)), ("resnet50_caffe", (2, 1, 1)), ("cifar_wrn13_1_b131", (2, 1, 1))):
        with torch.device("meta"):
            block = ResidualNet(get_spec(name), None).layer2[0]
        assert tuple(conv.stride[0] for conv, _ in block.layers) == strides


def test_dropout_lies_between_the_convolutions():
    spec = get_spec("cifar_wrn10_1_d0.5")
    block = ResidualNet(spec, None).layer1[0].train()
    dropped = []
    block.conv1.register_forward_pre_hook(lambda _m, args: dropped.append((args[0] == 0).float().mean().item()))
    block.conv2.register_forward_pre_hook(lambda _m, args: dropped.append((args[0] == 0).float().mean().item()))
    block(torch.rand(4, 16, 16, 16) + 0.1)
    assert dropped[0] == 0 and dropped[1] == pytest.approx(0.75, abs=0.05)  # half by ReLU, half of the rest


def test_pre_activation_stages_are_sums_and_the_last_is_normalised():
    network = ResidualNet(get_spec("cifar_preact_resnet110"), None)
    maps = network.features(torch.randn(2, 3, 32, 32))
    assert (maps["res2"] < 0).any() and (maps["res3"] < 0).any() and (maps["res4"] >= 0).all()
    assert not hasattr(network.layer1[0], "bn1") and hasattr(network.layer1[1], "bn1")


def test_he_initialisation():
    network = ResidualNet(get_spec("cifar_wrn10_4"), 10)
    weight = network.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (3 * 3 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnext50_32x4d", "cifar_wrn16_2"])
def test_zero_init_residual_makes_identities(name):
    network = ResidualNet(get_spec(name), None, zero_init_residual=True).eval()
    block = network.layer1[1]
    x = torch.rand(1, network.spec.widths[0], 8, 8)
    assert torch.equal(block(x), x)
    network = ResidualNet(get_spec(name), None).eval()
    assert not torch.allclose(network.layer1[1](x), x)


def test_zero_init_without_shortcuts_is_refused():
    with pytest.raises(InputError, match="plain18: a network without shortcuts"):
        build_network(get_spec("plain18"), 10, zero_init_residual=True)
    with pytest.raises(InputError, match="vgg16: has no zero_init_residual"):
        build_network(get_spec("vgg16"), 10, zero_init_residual=True)


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_preact_resnet164", "cifar_wrn10_2_d0.3"])
def test_checkpointed_activations_change_nothing(name):
    spec = get_spec(name)
    results = []
    for checkpoint_activations in (False, True):
        torch.manual_seed(0)
        network = ResidualNet(spec, 10, checkpoint_activations=checkpoint_activations)
        kept = 0

        def keep(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network(torch.randn(4, 3, 32, 32)).square().sum()
        loss.backward()
        grads = [p.grad for p in network.parameters()]
        results.append((loss, grads, network.state_dict(), kept))
    (loss, grads, state, kept), (loss2, grads2, state2, kept2) = results
    assert torch.equal(loss, loss2)
    assert all(torch.equal(a, b) for a, b in zip(grads, grads2, strict=True))
    assert all(torch.equal(state[k], state2[k]) for k in state)  # each batch counted once in the running statistics
    assert kept2 < kept / 3


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "cifar_preact_resnet110"])
def test_channels_last_gives_the_same(name):
    network = ResidualNet(get_spec(name), 10).eval()
    image = torch.randn(2, 3, 65, 65)
    with torch.no_grad():
        expected = network(image)
        network = network.to(memory_format=torch.channels_last)
        got = network(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_stage_alone_is_the_networks():
    spec = get_spec("wrn34_2")
    stage = build_stage(spec, "res5")
    assert len(stage) == 3 and stage(torch.zeros(2, 512, 14, 14)).shape == (2, 1024, 7, 7)
    assert stage.state_dict().keys() == ResidualNet(spec, None).layer4.state_dict().keys()


# In detectron2


@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at(freeze_at):
    net = ResidualBackbone("resnet18", ["res5"], "BN", freeze_at)
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
        net = ResidualBackbone(name, ["res5"], norm)
        if norm == "SyncBN":
            net.eval()  # it trains on GPUs only
        assert isinstance(net.bn1, NORMS[norm]) and isinstance(net.layer4[0].bn2, NORMS[norm])
        out = net(torch.randn(2, 3, 64, 64))["res5"]
    assert out.shape == (2, net.spec.widths[-1], 2, 2)


def test_a_norm_that_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"MODEL\.RESNETS\.NORM: GN does not fit resnext50_2x40d"):
        ResidualBackbone("resnext50_2x40d", ["res5"], "GN")


def test_stages_past_the_last_output_are_not_built():
    assert not hasattr(ResidualBackbone("resnet18", ["res3"]), "layer3")


def test_bad_backbone_keys_are_named():
    with pytest.raises(InputError, match="OUT_FEATURES"):
        ResidualBackbone("resnet18", ["res6"])
    with pytest.raises(InputError, match="FREEZE_AT"):
        ResidualBackbone("resnet18", ["res5"], "BN", 6)


def test_vgg_maps_are_as_declared_and_frozen_from_the_front():
    net = VGGBackbone(get_spec("vgg16"), ["conv3", "conv5"], freeze_at=2)
    with torch.no_grad():
        maps = net(torch.zeros(1, 3, 70, 101))
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {"conv3": (256, 17, 25), "conv5": (512, 4, 6)}
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {"conv3": (256, 4), "conv5": (512, 16)}
    frozen = [k for k, p in net.named_parameters() if not p.requires_grad]
    assert frozen == [f"features.{i}.{p}" for i in (0, 2, 5, 7) for p in ("weight", "bias")]
    assert len(VGGBackbone(get_spec("vgg16"), ["conv2"]).features) == 9
    with pytest.raises(InputError, match="OUT_FEATURES"):
        VGGBackbone(get_spec("vgg16"), ["res4"])


def test_builders_are_registered_and_know_their_network():
    patterns = ("build_{}_backbone", "build_{}_fpn_backbone", "build_retinanet_{}_fpn_backbone")
    for spec in CATALOGUE.values():
        vgg = isinstance(spec, VGGSpec)
        for pattern in patterns:
            name = pattern.format(spec.name)
            registered = pattern == patterns[0] if vgg else spec in IMAGENET
            assert (name in BACKBONE_REGISTRY) == registered
            if registered:
                assert spec_of_builder(name) is spec
    for name in ("resnet50", "build_retinanet_resnet50_backbone", "build_cifar_resnet20_backbone"):
        with pytest.raises(InputError, match="build_ARCH_backbone"):
            spec_of_builder(name)


# As a graph


def on_graph(spec):
    """A network that costs little to trace: its depth matters, not its width."""
    narrow = dataclasses.replace(
        spec,
        widths=tuple(w // 16 for w in spec.widths),
        inner_widths=tuple(max(w // 16, spec.groups) for w in spec.inner_widths),
        stem_width=4,
    )
    return ResidualNet(narrow, 10).eval(), torch.randn(2, 3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("spec", IMAGENET, ids=name_of)
def test_torch_export_and_compile_accept_every_imagenet_row(spec):
    network, image = on_graph(spec)
    with torch.no_grad():
        expected = network(image)
        exported = torch.export.export(network, (image,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        torch.testing.assert_close(
            exported.module()(image[:1].repeat(3, 1, 1, 1)), expected[:1].repeat(3, 1), rtol=1e-4, atol=1e-5
        )
        torch.compiler.reset()
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(image), expected, rtol=1e-4, atol=1e-5)
