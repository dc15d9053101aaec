"""The rows: their sizes beside the papers', and the names of Wide ResNets."""

from backbones.catalogue import CATALOGUE, get_spec
from backbones.complexity import FLOPS_TOLERANCE, agrees, measure, table
from backbones.errors import InputError
from backbones.spec import PublishedValue
from backbones.wide import parse_cifar_wrn

import pytest
import torch
import yaml
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from run_tools import DATA, PROJECT, assert_clear_error, run_tool

FIGURES = [(spec, figure) for spec in CATALOGUE.values() for figure in spec.published]


@pytest.mark.parametrize(("spec", "figure"), FIGURES, ids=lambda x: getattr(x, "name", getattr(x, "value", None)))
def test_size_is_the_papers_or_the_row_says_why_not(spec, figure):
    assert agrees(figure, measure(spec)) == (not figure.differs)


def test_only_so_many_figures_are_said_to_be_of_another_network():
    names = [spec.name for spec, figure in FIGURES if figure.differs]
    wrns = ["cifar_wrn40_2_b131", "cifar_wrn40_2_b311", "cifar_wrn22_2_b313"]
    assert names == ["resnext101_64x4d", *wrns]
    for name in wrns:  # the row names the network that has the figure, and that is in the catalogue
        figure = CATALOGUE[name].published[0]
        other = CATALOGUE[figure.differs.split()[-1]]
        assert other.published[0].value == figure.value and other.kernels == CATALOGUE[name].kernels


def test_what_agreement_means():
    size = measure(get_spec("resnet50"))
    assert (size.params, size.weights) == pytest.approx((25.557032, 25.503912), abs=1e-6)
    for value, is_so in (("25.6", True), ("25.56", True), ("25.5", False), ("26", True)):
        assert agrees(PublishedValue("params", value, ""), size) == is_so
    assert agrees(PublishedValue("flops", f"{size.flops / (1 + 0.9 * FLOPS_TOLERANCE)}", ""), size)
    assert not agrees(PublishedValue("flops", f"{size.flops / (1 + 1.1 * FLOPS_TOLERANCE)}", ""), size)


@pytest.mark.parametrize("name", ["resnet50", "cifar_preact_resnet110", "resnext50_32x4d"])
def test_flops_and_activations_are_fvcores(name):
    spec = get_spec(name)
    network = spec.build(spec.num_classes).eval()
    image = torch.zeros(1, 3, spec.input_size, spec.input_size)
    flops = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).by_operator()
    activations = ActivationCountAnalysis(network, image).unsupported_ops_warnings(False).total()
    size = measure(spec)
    assert size.flops == pytest.approx((flops["conv"] + flops["linear"]) / 1e9, rel=1e-9)
    assert size.activations == pytest.approx(activations / 1e6, rel=1e-9)


def test_every_figure_of_the_tables_has_its_row():
    """tests/data/papers.yaml lists what the papers print: each params and FLOPs figure stands in the catalogue."""
    tables = yaml.safe_load((DATA / "papers.yaml").read_text())
    printed = {(spec.name, f.quantity != "flops", float(f.value)) for spec, f in FIGURES}

    def of(name):
        caffe = name in ("resnet50", "resnet101", "resnet152")
        return name + "_caffe" if caffe else name

    resnet, wrn, resnext = tables["resnet"], tables["wrn"], tables["resnext"]
    expected = {(of(name), False, flops) for name, flops in resnet["imagenet_flops"].items()}
    expected |= {(f"cifar_{name}", True, params) for name, params in resnet["cifar10_params"].items()}
    expected |= {(f"cifar_{name}", True, params) for name, params in wrn["preact_params"].items()}
    for row in wrn["block_types"]:
        kernels = "".join(c for c in row["block"] if c.isdigit())
        expected.add((get_spec(f"cifar_wrn{row['depth']}_2_b{kernels}").name, True, row["params"]))
    expected |= {(f"cifar_wrn{depth}_{k}", True, params) for depth, k, params, *_ in wrn["widening"]}
    expected |= {
        (f"{name}_{width:g}", True, row[2])
        for name, rows in wrn["imagenet_basic"].items()
        for width, row in rows.items()
    }
    expected |= {(name, True, row[2]) for name, row in wrn["imagenet_bottleneck"].items()}
    expected.add(("cifar_wrn40_10", True, wrn["wrn40_10_params"]))
    for name, (params, flops) in resnext["params_flops"].items():
        expected |= {(name, True, params), (name, False, flops)}
    expected |= {(f"cifar_{name}", True, row[0]) for name, row in resnext["cifar"].items()}
    assert expected <= printed, expected - printed


def test_cardinality_and_width_keep_the_size_of_a_block():
    """ResNeXt, Table 2 and Eqn. 4: about 70k parameters a block, whatever the cardinality."""
    tables = yaml.safe_load((DATA / "papers.yaml").read_text())
    for cardinality, (d, width) in tables["resnext"]["cardinality_width"].items():
        spec = get_spec(f"resnext50_{cardinality}x{d}d")
        assert (spec.groups, spec.inner_widths[0]) == (cardinality, width)
        assert cardinality * (256 * d + 3 * 3 * d * d + d * 256) == pytest.approx(70e3, rel=0.03)


@pytest.mark.parametrize(
    ("name", "depths", "kernels", "dropout"),
    [
        ("cifar_wrn28_10", 4, (3, 3), 0.0),
        ("cifar_wrn40_2_b131", 4, (1, 3, 1), 0.0),
        ("cifar_wrn28_10_d0.3", 4, (3, 3), 0.3),
        ("cifar_wrn16_8_d0.4", 2, (3, 3), 0.4),
        ("cifar_wrn40_2_b3", 12, (3,), 0.0),
        ("cifar_wrn40_2_b3333", 3, (3, 3, 3, 3), 0.0),
        ("cifar_wrn22_3_b313_d0.25", 2, (3, 1, 3), 0.25),
    ],
)
def test_names_of_wide_resnets_parse_and_print_back(name, depths, kernels, dropout):
    spec = get_spec(name)
    assert (spec.name, spec.depths, spec.kernels, spec.dropout) == (name, (depths,) * 3, kernels, dropout)


def test_the_name_counts_the_convolutions():
    for name in ("cifar_wrn28_10", "cifar_wrn40_2_b131", "cifar_wrn40_2_b3", "cifar_wrn22_2_b313"):
        with torch.device("meta"):
            network = get_spec(name).build(10)
        convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in network.modules())
        assert f"cifar_wrn{convolutions}_" in name


def test_the_long_form_of_a_name_is_the_same_network():
    assert parse_cifar_wrn("cifar_wrn28_10_b33_d.30").name == "cifar_wrn28_10_d0.3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar_wrn41_2", r"no depth 41; valid are 4 \+ 6 N: 10, 16, 22, 28, 34, …; nearest are 40 and 46"),
        ("cifar_wrn28_10_b131", r"B\(1,3,1\) has no depth 28; valid are 4 \+ 9 N: 13, 22, 31"),
        ("cifar_wrn4_2", "nearest are 10 and 16"),
        ("cifar_wrn28_0", "begins at 1"),
        ("cifar_wrn40_2_b11", "needs a 3x3"),
        ("cifar_wrn40_2_b3_d0.3", "dropout lies between"),
        ("cifar_wrn28", "write cifar_wrnN_K"),
        ("cifar_wrn28_10_d0.00001", "write cifar_wrnN_K"),
        ("resnext101_32x4", r"did you mean resnext101_32x4d\?"),
        ("resnet5O", "did you mean resnet50"),
    ],
)
def test_bad_names_say_what_is_valid(name, message):
    with pytest.raises(InputError, match=message):
        get_spec(name)


def test_complexity_tool():
    done = run_tool("complexity.py", "resnet50", "cifar_wrn40_2_b131", "cifar_wrn16_4_d0.3", "--format", "github")
    assert done.returncode == 0, done.stderr
    assert "25.56 |      4.09" in done.stdout and "Wide ResNet, Table 8" in done.stdout
    assert "not this network's" in done.stdout and "cifar_wrn16_4_d0.3" in done.stdout
    assert_clear_error(run_tool("complexity.py", "resnet5"), "did you mean resnet50")


def test_the_documented_table_is_todays():
    """Else replace it in docs/backbones.md by what `tools/complexity.py --format github` prints."""
    assert table(CATALOGUE.values(), "github") in (PROJECT / "docs" / "backbones.md").read_text()
