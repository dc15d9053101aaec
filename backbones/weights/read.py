"""Parameters from files, with what the files say about them.

A checkpoint of ours is a dict: `model` (parameters by name), `task` ("classification" or "detection"), `arch`, `mean`
and `std` (of pixels in 0 to 255), `channel_order` ("RGB" or "BGR"), `input_size` (side of the training images, in
pixels), `classes` (names in the order of the outputs), and `trainer` (optimizer, iteration). Files of torchvision, timm
and detectron2 are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from backbones.weights.naming import from_caffe2, from_detectron2, from_timm_vgg, is_caffe2, is_detectron2, is_timm_vgg

from torch import Tensor, nn

# Of ImageNet, for pixels in 0 to 255, RGB: what torchvision's and timm's weights were trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a file says about its parameters; None where the file does not say. The module's docstring has the units."""

    task: str | None = None
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str | None = None
    input_size: int | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Weights(CheckpointMetadata):
    """Parameters from a file, by our names, with what the file says about them.

    Attributes:
        path: the file.
        state: parameters and buffers.
        naming: whose names the file had: "torchvision" (ours, and timm's), "detectron2" or "caffe2".
        normalisation: what the pixels go through where that is more than mean and std (classification.data.normalise).
        anchors: a detector's, {"sizes", "aspect_ratios"}; they are no parameters.
    """

    path: str
    state: Mapping[str, Tensor]
    naming: str = "torchvision"
    normalisation: Mapping | None = None
    anchors: Mapping | None = None

    @property
    def is_detector(self) -> bool:
        """Whether the parameters are a detector's."""
        return self.task == "detection" or any(name.startswith("backbone.") for name in self.state)

    @property
    def metadata(self) -> dict:
        """What the file says, as the items of a checkpoint."""
        items = {field.name: getattr(self, field.name) for field in fields(CheckpointMetadata)}
        return {k: v for k, v in items.items() if v is not None}


def read_weights(path: str | Path) -> Weights:
    """Reads parameters from a checkpoint of ours, torchvision's, timm's or detectron2's (MSRA's Caffe2 names included).

    Raises:
        InputError: as `files.read_checkpoint`, or the file holds no parameters.
    """
    return weights_in(read_checkpoint(path), path)


def weights_in(content: Mapping, path: str | Path) -> Weights:
    """The parameters in the content of a checkpoint, as `read_weights` gives them.

    Args:
        content: what `files.read_checkpoint` returned.
        path: the file, for messages.

    Raises:
        InputError: there are no parameters in the content.
    """
    nested = [content[k] for k in ("model", "state_dict", "blobs") if isinstance(content.get(k), Mapping)]
    state = dict(nested[0] if nested else content)
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InputError(f"{path}: found no state dict in it; its keys are {list(content)[:5]}")
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    metadata, naming = _metadata(content, path), "torchvision"
    if is_timm_vgg(state):
        state = from_timm_vgg(state)
    if is_caffe2(state):  # the ResNet authors' own, and what Detectron made of them
        state, naming = from_caffe2(state), "caffe2"
        metadata = {"mean": IMAGENET_MEAN[::-1], "std": (1.0, 1.0, 1.0), "channel_order": "BGR"} | metadata
    if is_detectron2(state):
        naming = "detectron2" if naming == "torchvision" else naming
        state, pixels = _without_pixels(from_detectron2(state))
        if content.get("__author__") == "torchvision":  # detectron2's conversion of torchvision's own
            pixels = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "channel_order": "RGB"}
        metadata = pixels | metadata
    others = {key: content.get(key) for key in ("normalisation", "anchors")}
    return Weights(**metadata, path=str(path), state=state, naming=naming, **others)


def _metadata(content: Mapping, path: str | Path) -> dict:
    """What the content of a checkpoint says, by the names of CheckpointMetadata's fields.

    Raises:
        InputError: an item is not of the form that it must have.
    """
    metadata = {
        k: content[k] for k in (field.name for field in fields(CheckpointMetadata)) if content.get(k) is not None
    }
    for key in {"mean", "std", "classes"} & set(metadata):
        if not isinstance(metadata[key], list | tuple):
            raise InputError(f"{path}: {key} is no list: {metadata[key]!r}")
        metadata[key] = tuple(metadata[key])
    for key in {"mean", "std"} & set(metadata):
        if len(metadata[key]) != 3 or not all(isinstance(v, int | float) for v in metadata[key]):
            raise InputError(f"{path}: {key} is not three numbers: {metadata[key]}")
    if "arch" in metadata:
        arch = _our_name(metadata.pop("arch"), ours="task" in content)
        metadata |= {"arch": arch} if arch else {}
    return metadata


def _our_name(arch: object, *, ours: bool) -> str:
    """Our name of the network that a file names, "" where another library's name tells nothing ("resnet")."""
    name = str(arch)
    timms = {spec.timm: row for row, spec in reversed(CATALOGUE.items()) if spec.timm}
    untagged = name.split(".")[0]  # timm writes the weights' tag behind the name: resnet50.a1_in1k
    if untagged in timms:
        return timms[untagged]
    try:
        return get_spec(name).name
    except InputError:
        return name if ours else ""


def _without_pixels(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """A detectron2 detector's parameters without its pixels and anchors, and what the pixels say."""
    pixels = {k: tuple(state[f"pixel_{k}"].flatten().tolist()) for k in ("mean", "std") if f"pixel_{k}" in state}
    if "mean" in pixels and pixels["mean"][0] != pixels["mean"][-1]:  # of ImageNet's means blue is the least
        pixels["channel_order"] = "BGR" if pixels["mean"][0] < pixels["mean"][-1] else "RGB"
    dropped = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.", "anchor_generator.")
    return {k: v for k, v in state.items() if not k.startswith(dropped)}, pixels


def resolve_preprocessing(cfg, weights: Weights) -> None:
    """Sets detectron2's keys for pixels to what the file was trained with, where it says so."""
    if weights.mean:
        cfg.MODEL.PIXEL_MEAN = list(weights.mean)
    if weights.std:
        cfg.MODEL.PIXEL_STD = list(weights.std)
    if weights.channel_order:
        cfg.INPUT.FORMAT = weights.channel_order


def check_arch(weights: Weights, arch: str) -> None:
    """Raises InputError if the file says that it is of another network than `arch`."""
    if weights.arch is not None and weights.arch != get_spec(arch).name:
        raise InputError(f"{weights.path}: holds {weights.arch}, the model is {arch}; use weights of {arch}")


def variant_warning(weights: Weights, arch: str) -> str:
    """A line for the log where the file may be of the Caffe variant of `arch` without saying so, else "".

    The two variants have the same parameters and differ in where the stride is.
    """
    unsure = weights.channel_order == "BGR" or (weights.naming == "detectron2" and weights.channel_order is None)
    if weights.arch is not None or not unsure or f"{arch}_caffe" not in CATALOGUE:
        return ""
    return (
        f"{weights.path}: may be of the ResNet authors' kind, with BGR pixels and the stride in the first 1x1 "
        f"(detectron2's STRIDE_IN_1X1, its default); {arch} has the stride in the 3x3: if the file is of the authors' "
        f"kind, use {arch}_caffe"
    )
