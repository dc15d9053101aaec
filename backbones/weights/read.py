"""Reads parameters from files, together with the files' metadata: network, pixels, classes.

A residet checkpoint is a dict: `model` (parameters by name), the metadata of `CheckpointMetadata`, and `trainer`
(optimizer, iteration). Files of torchvision, timm, detectron2 and Caffe2 are read too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError
from backbones.weights.check import check_metadata, check_tensors
from backbones.weights.files import read_checkpoint
from backbones.weights.hub import locate
from backbones.weights.naming import from_caffe2, from_detectron2, from_timm_vgg, is_caffe2, is_detectron2, is_timm_vgg
from backbones.weights.published import IMAGENET_MEAN, IMAGENET_STD

from torch import Tensor, nn


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a file says about its parameters. None: the file does not say.

    Attributes:
        task: "classification" or "detection".
        arch: the network's name in the catalogue.
        mean: mean of each channel, for pixels in 0 to 255, in `channel_order`.
        std: standard deviation of each channel, as `mean`.
        channel_order: "RGB" or "BGR".
        input_size: side of the training images, in pixels.
        classes: names of the classes, in the order of the outputs.
        initial_weights: the weights that the training started from, as the user named them; "" for random ones.
        norm: detectron2's name of the norm layers: "BN", "FrozenBN", "GN", …
    """

    task: str | None = None
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str | None = None
    input_size: int | None = None
    classes: tuple[str, ...] | None = None
    initial_weights: str | None = None
    norm: str | None = None


@dataclass(frozen=True, kw_only=True)
class Weights(CheckpointMetadata):
    """Parameters from a file, by residet's names, with the file's metadata.

    Attributes:
        path: the file, or the name that has led to the file; for messages.
        state: parameters and buffers by name.
        naming: the library whose parameter names the file had: "torchvision" (residet and timm use torchvision's
            names), "detectron2" or "caffe2".
        normalisation: state of the pixel normalisation (classification.data.normalise); None for mean and std alone.
        anchors: {"sizes": …, "aspect_ratios": …} of a residet detector's anchors; None for other files.
        origin: a line for the log on weights that the user has named: name, accuracy, pixels, licence, file.
    """

    path: str
    state: Mapping[str, Tensor]
    naming: str = "torchvision"
    normalisation: Mapping | None = None
    anchors: Mapping | None = None
    origin: str = ""

    @property
    def is_detector(self) -> bool:
        """Whether the parameters are a detector's."""
        return self.task == "detection" or any(name.startswith("backbone.") for name in self.state)

    @property
    def metadata(self) -> dict:
        """The metadata that the file has, under the keys of a residet checkpoint."""
        items = {field.name: getattr(self, field.name) for field in fields(CheckpointMetadata)}
        return {k: v for k, v in items.items() if v is not None}


def read_weights(source: str | Path, arch: str = "") -> Weights:
    """Reads parameters from a checkpoint of residet, torchvision, timm, detectron2 or Caffe2 (MSRA's files).

    Args:
        source: a file that `files.read_checkpoint` reads; or a name of published weights, such as
            "torchvision:resnet50", whose file is downloaded if it is not in the cache (`hub.locate`).
        arch: name of the network that the weights are for; needed for the name "auto" alone.

    Raises:
        InputError: the file does not exist, cannot be downloaded, is damaged, holds no parameters, or has metadata of a
            wrong form.
    """
    located = locate(source, arch)
    weights = weights_in(read_checkpoint(located.path), located.name, located.metadata)
    return replace(weights, origin=located.origin)


def weights_in(content: Mapping, path: str | Path, published: Mapping | None = None) -> Weights:
    """The parameters and metadata of a checkpoint that has been read already.

    Args:
        content: the dict that `files.read_checkpoint` returned.
        path: the file, for messages.
        published: metadata that the publisher gives beside the file; what the file itself says comes first.

    Raises:
        InputError: `content` holds no parameters, or metadata of a wrong form.
    """
    nested = [content[k] for k in ("model", "state_dict", "blobs") if isinstance(content.get(k), Mapping)]
    state = dict(nested[0] if nested else content)
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InputError(
            f"{path}: found no state dict (tensors by name) in the file, whose first keys are {list(content)[:5]}; "
            "save model.state_dict()"
        )
    check_tensors(state, path)
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    metadata, naming = _metadata(content, path), "torchvision"
    if is_timm_vgg(state):
        state = from_timm_vgg(state)
    if is_caffe2(state):  # files of the ResNet authors, or Detectron's versions of the same files
        state, naming = from_caffe2(state), "caffe2"
        metadata = {"mean": IMAGENET_MEAN[::-1], "std": (1.0, 1.0, 1.0), "channel_order": "BGR"} | metadata
    if is_detectron2(state):
        naming = "detectron2" if naming == "torchvision" else naming
        state, pixels = _without_pixels(from_detectron2(state))
        if content.get("__author__") == "torchvision":  # detectron2's conversion of torchvision's weights
            pixels = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "channel_order": "RGB"}
        metadata = pixels | metadata
    further = {key: content.get(key) for key in ("normalisation", "anchors")}
    metadata = dict(published or {}) | metadata
    return Weights(**metadata, path=str(path), state=state, naming=naming, **further)


def _metadata(content: Mapping, path: str | Path) -> dict:
    """The metadata in a checkpoint, by the names of CheckpointMetadata's fields.

    Raises:
        InputError: an item of the metadata has a wrong form.
    """
    metadata = {
        k: content[k] for k in (field.name for field in fields(CheckpointMetadata)) if content.get(k) is not None
    }
    check_metadata(content, path)
    for key in {"mean", "std", "classes"} & set(metadata):
        metadata[key] = tuple(metadata[key])
    if "arch" in metadata:
        arch = _catalogue_name(metadata.pop("arch"), from_residet="task" in content)
        metadata |= {"arch": arch} if arch else {}
    return metadata


def _catalogue_name(arch: object, *, from_residet: bool) -> str:
    """The catalogue's name for the network that a file names.

    Args:
        arch: the value of the file's key `arch`.
        from_residet: residet wrote the file. An unknown name is then kept, so that the error message can show the name.

    Returns:
        the name, or "" if another library's name tells no network ("resnet").
    """
    name = str(arch)
    names_of_timm = {spec.timm: row for row, spec in reversed(CATALOGUE.items()) if spec.timm}
    untagged = name.split(".")[0]  # timm adds the tag of the weights to the name: resnet50.a1_in1k
    if untagged in names_of_timm:
        return names_of_timm[untagged]
    try:
        return get_spec(name).name
    except InputError:
        return name if from_residet else ""


def _without_pixels(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """A detectron2 detector's parameters without pixel statistics and anchors, and the metadata from the statistics."""
    pixels = {k: tuple(state[f"pixel_{k}"].flatten().tolist()) for k in ("mean", "std") if f"pixel_{k}" in state}
    if "mean" in pixels and pixels["mean"][0] != pixels["mean"][-1]:  # blue has the least mean in ImageNet
        pixels["channel_order"] = "BGR" if pixels["mean"][0] < pixels["mean"][-1] else "RGB"
    dropped = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.", "anchor_generator.")
    return {k: v for k, v in state.items() if not k.startswith(dropped)}, pixels


def resolve_preprocessing(cfg, weights: Weights, overridden_keys: Collection[str] = ()) -> None:
    """Sets MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and INPUT.FORMAT to the pixels that the weights were trained with.

    A key stays as it is if the file does not give its value.

    Args:
        cfg: detectron2's config, changed in place.
        weights: the weights that the model will load.
        overridden_keys: keys that the user has set.

    Raises:
        InputError: the user has set a key to another value than the weights were trained with.
    """
    of_weights = (
        (cfg.MODEL, "PIXEL_MEAN", "MODEL.PIXEL_MEAN", weights.mean and list(weights.mean)),
        (cfg.MODEL, "PIXEL_STD", "MODEL.PIXEL_STD", weights.std and list(weights.std)),
        (cfg.INPUT, "FORMAT", "INPUT.FORMAT", weights.channel_order),
    )
    for node, key, name, value in of_weights:
        if not value:
            continue
        if name in overridden_keys and node[key] != value:
            raise InputError(
                f"{name}: {node[key]}, but {weights.path} was trained with {value}; leave the key out: the weights' "
                "value is taken"
            )
        node[key] = value


def check_arch(weights: Weights, arch: str) -> None:
    """Raises InputError if the file names another network than `arch`."""
    if weights.arch is not None and weights.arch != get_spec(arch).name:
        raise InputError(f"{weights.path}: holds {weights.arch}, the model is {arch}; use weights of {arch}")


def variant_warning(weights: Weights, arch: str) -> str:
    """A warning for the log if the file may hold the Caffe variant of `arch` without saying so, else "".

    The two variants have parameters of the same names and shapes, but the stride in another convolution.
    """
    unsure = weights.channel_order == "BGR" or (weights.naming == "detectron2" and weights.channel_order is None)
    if weights.arch is not None or not unsure or f"{arch}_caffe" not in CATALOGUE:
        return ""
    return (
        f"{weights.path}: may be of the ResNet authors' kind, with BGR pixels and the stride in the first 1x1 "
        f"(detectron2's default, STRIDE_IN_1X1), but {arch} has the stride in the 3x3; if the file is of the authors' "
        f"kind, use {arch}_caffe"
    )
