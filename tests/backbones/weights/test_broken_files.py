"""Checkpoints whose weights or metadata cannot be right: one InputError, and no figures from them."""

import math

from backbones.api import create_network
from backbones.errors import InputError
from backbones.weights.read import read_weights

import pytest
import torch


@pytest.fixture(scope="module")
def good():
    """A checkpoint of a classifier."""
    state = create_network("cifar_resnet20", num_classes=2).state_dict()
    return {"model": state, "task": "classification", "arch": "cifar_resnet20", "classes": ["a", "b"]}


def changed(state, function):
    name = next(k for k in state if k.endswith("conv1.weight"))
    return {**state, name: function(state[name].clone())}


def with_value(value):
    def change(tensor):
        tensor.view(-1)[3] = value
        return tensor

    return change


TENSORS = {
    "nan": (with_value(math.nan), "NaN or infinite"),
    "inf": (with_value(math.inf), "NaN or infinite"),
    "half_inf": (lambda t: with_value(-math.inf)(t.half()), "NaN or infinite"),
    "sparse": (lambda t: t.to_sparse(), "sparse, nested, quantised"),
    "quantised": (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "sparse, nested, quantised"),
    "complex": (lambda t: t.to(torch.complex64), "sparse, nested, quantised"),
    "nested": (lambda t: torch.nested.nested_tensor([t[0], t[1]]), "sparse, nested, quantised"),
    "repeated": (lambda t: torch.zeros(1).expand(10**6, 10**6), "repeats fewer values"),
}
METADATA = {
    "std_0": {"std": [58.0, 0.0, 57.0]},
    "std_negative": {"std": [58.0, -1.0, 57.0]},
    "std_inf": {"std": [58.0, math.inf, 57.0]},
    "std_nan": {"std": [58.0, math.nan, 57.0]},
    "std_huge": {"std": [1e300] * 3},
    "std_beyond_floats": {"std": [10**400] * 3},
    "std_text": {"std": "abc"},
    "std_four": {"std": [1.0] * 4},
    "std_tensor": {"std": torch.ones(3)},
    "std_flags": {"std": [True] * 3},
    "mean_nan": {"mean": [math.nan, 0.0, 0.0]},
    "mean_number": {"mean": 5},
    "mean_nested": {"mean": [[1.0], [2.0], [3.0]]},
    "classes_whole": {"classes": [1, 2]},
    "classes_number": {"classes": 5},
    "classes_text": {"classes": "ab"},
    "classes_none": {"classes": [None, "b"]},
    "classes_empty_name": {"classes": ["", "b"]},
    "bgra": {"channel_order": "BGRA"},
    "order_number": {"channel_order": 3},
    "order_tensor": {"channel_order": torch.ones(3)},
    "task_other": {"task": "segmentation"},
    "task_number": {"task": 1},
    "anchors_number": {"anchors": 5},
    "anchors_negative": {"anchors": {"sizes": [[-1.0]], "aspect_ratios": [[1.0]]}},
    "anchors_flat": {"anchors": {"sizes": [32, 64], "aspect_ratios": [[1.0]]}},
    "anchors_empty": {"anchors": {"sizes": [], "aspect_ratios": [[1.0]]}},
    "anchors_nan": {"anchors": {"sizes": [[math.nan]], "aspect_ratios": [[1.0]]}},
    "size_0": {"input_size": 0},
    "size_text": {"input_size": "224"},
    "normalisation_number": {"normalisation": 5},
    "normalisation_kind": {"normalisation": {"kind": 5}},
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_cannot_be_weights_are_refused(good, tmp_path, name):
    change, words = TENSORS[name]
    torch.save(good | {"model": changed(good["model"], change)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth: '.*conv1.weight' .*{words}"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_right_is_refused(good, tmp_path, name):
    torch.save(good | METADATA[name], tmp_path / "a.pth")
    (key,) = METADATA[name]
    with pytest.raises(InputError, match=rf"a\.pth: {key} is not .*correct this key"):
        read_weights(tmp_path / "a.pth")


def test_a_message_shows_no_control_characters(good, tmp_path):
    torch.save(good | {"channel_order": "\x1b[31mRGB\x07"}, tmp_path / "a.pth")
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "a.pth")
    assert str(caught.value).isprintable()


def test_good_files_are_read(good, tmp_path):
    pixels = {"mean": [1, 2.0, 3.0], "std": [1.0, 2, 3], "anchors": {"sizes": [[32]], "aspect_ratios": [[1.0, 2]]}}
    torch.save(good | pixels, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    assert weights.std == (1.0, 2, 3) and weights.classes == ("a", "b")
