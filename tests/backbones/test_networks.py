"""The networks by themselves: shapes, gradients, options."""

import dataclasses

from backbones.blocks import Block
from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.resnet import ResidualNet, build_stage
from backbones.spec import ArchSpec

import pytest
import torch
from narrow_networks import narrow
from torch import nn

RESIDUAL = [spec for spec in CATALOGUE.values() if isinstance(spec, ArchSpec)]
IMAGENET = [spec for spec in RESIDUAL if spec.stem == "imagenet"]


def name_of(spec):
    return spec.name


def shallow(spec):
    """The row with two blocks a stage: one that may change the shape, and one that does not."""
    return dataclasses.replace(spec, depths=tuple(min(depth, 2) for depth in spec.depths))


@pytest.mark.parametrize("spec", RESIDUAL, ids=name_of)
def test_maps_are_as_declared_also_of_odd_sizes(spec):
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = ResidualNet(shallow(spec), spec.num_classes)
        image = torch.empty(2, 3, 75, 101)
        maps = network.feature_maps(image)
        logits = network(image)
    assert logits.shape == (2, spec.num_classes)
    assert list(maps) == ["stem", *spec.stages] == [info["name"] for info in network.feature_info]
    for info in network.feature_info:
        stride = info["reduction"]
        assert maps[info["name"]].shape == (2, info["num_chs"], -(-75 // stride), -(-101 // stride))


@pytest.mark.parametrize("spec", RESIDUAL, ids=name_of)
def test_every_parameter_gets_a_gradient_and_evaluation_runs(spec):
    network = narrow(spec).double()  # the gradients of 1202 plain layers pass the range of float32
    size = 17 if spec.stem == "cifar" else 65
    network(torch.randn(4, 3, size, size).double()).square().sum().backward()
    without = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without
    network.eval()
    with torch.no_grad():
        assert torch.isfinite(network(torch.randn(1, 3, size, size).double())).all()


# Weighted layers on the longest way through the network, as the papers count them.
DEPTHS = {"plain18": 18, "resnet34_c": 34, "resnet50": 50, "resnext101_64x4d": 101, "preact_resnet200": 200}
DEPTHS |= {"wrn34_1.5": 34, "wrn50_2_bottleneck": 50, "cifar_resnet20": 20, "cifar_resnet1202": 1202}
DEPTHS |= {
    "cifar_preact_resnet164": 164,
    "cifar_preact_resnet1001": 1001,
    "cifar_resnext29_8x64d": 29,
    "resnet152": 152,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depth_is_as_the_papers_count_it(name):
    with torch.device("meta"):
        network = ResidualNet(get_spec(name))
    shortcuts = sum(isinstance(m, nn.Conv2d) for k, m in network.named_modules() if "downsample" in k)
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules())
    assert layers - shortcuts == DEPTHS[name]


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
    maps = network.feature_maps(torch.randn(2, 3, 32, 32))
    assert (maps["res2"] < 0).any() and (maps["res3"] < 0).any() and (maps["res4"] >= 0).all()
    assert not hasattr(network.layer1[0], "bn1") and hasattr(network.layer1[1], "bn1")


def test_he_initialisation():
    network = ResidualNet(get_spec("cifar_wrn10_4"), 10)
    weight = network.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (3 * 3 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnext50_32x4d", "cifar_wrn16_2"])
def test_the_residual_scale_multiplies_branches(name):
    x = torch.rand(1, get_spec(name).widths[0], 8, 8)

    def branch(scale):
        torch.manual_seed(0)
        block = ResidualNet(get_spec(name), None, residual_scale=scale).eval().layer1[1]
        ends = []  # what the block adds to its shortcut, before a ReLU may follow
        module = block.conv2 if name == "cifar_wrn16_2" else getattr(block, f"bn{block.size}")
        module.register_forward_hook(lambda module, args, output: ends.append(output))
        return block(x), ends[0]

    whole, none, fifth = branch(1.0), branch(0.0), branch(0.2)
    assert torch.equal(none[0], x) and not torch.allclose(whole[0], x)
    torch.testing.assert_close(fifth[1], 0.2 * whole[1])


def test_a_residual_scale_without_shortcuts_is_refused():
    with pytest.raises(InputError, match="plain18: a network without shortcuts"):
        get_spec("plain18").build(10, residual_scale=0.2)
    with pytest.raises(InputError, match="vgg16: has no residual_scale"):
        get_spec("vgg16").build(10, residual_scale=0.2)


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


# As a graph


def graphs():
    """The rows for ImageNet with two blocks a stage, of those that are then alike one; and a deep one as it is."""
    found = {}
    for short in map(shallow, IMAGENET):
        parts = (short.kernels, short.depths, short.groups, short.form, short.shortcut, short.dropout)
        found.setdefault((*parts, short.stride_in_first, short.preact), short)
    return [*found.values(), get_spec("resnet101")]


@pytest.mark.slow
@pytest.mark.parametrize("spec", graphs(), ids=name_of)
def test_torch_export_and_compile_accept_every_imagenet_row(spec):
    network, image = narrow(spec).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
        exported = torch.export.export(network, (image,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        got = exported.module()(image[:1].repeat(3, 1, 1, 1))
        torch.testing.assert_close(got, expected[:1].repeat(3, 1), rtol=1e-4, atol=1e-5)
        torch.compiler.reset()
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(image), expected, rtol=1e-4, atol=1e-5)
