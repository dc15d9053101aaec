"""Weights that others have published for the catalogue's networks (published.yaml), and which of them are the best."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.errors import InputError

import yaml
from tabulate import tabulate

# ImageNet's mean and standard deviation of RGB pixels in 0 to 255, used to train torchvision's and timm's weights.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

_IMAGENET = "ImageNet-1K"
_COLUMNS = ("name", "network", "top-1 %", "box AP", "trained on", "preprocessing of the test", "licence")


@dataclass(frozen=True)
class PublishedWeights:
    """A row of published.yaml.

    Attributes:
        source: "torchvision", "timm" or "detectron2".
        name: the name within the source.
        network: the catalogue's name for the network.
        licence: SPDX name of the weights' licence.
        file: what follows the source's address; "" for timm, whose file lies in the repository timm/NAME.
        top1: top-1 accuracy on ImageNet in %; None for a detector.
        box_ap: AP on COCO in %; None for a classifier.
        trained_on: the images that the weights were trained on.
        resize: short side of a test image in pixels, before the crop; None for a detector.
        crop: side of the central crop of a test image in pixels; None for a detector.
        interpolation: interpolation of the resize; "" if not known.
        mean: mean of each channel, for pixels in 0 to 255, in `channel_order`.
        std: standard deviation of each channel, as `mean`.
        channel_order: "RGB" or "BGR".
    """

    source: str
    name: str
    network: str
    licence: str
    file: str = ""
    top1: float | None = None
    box_ap: float | None = None
    trained_on: str = _IMAGENET
    resize: int | None = None
    crop: int | None = None
    interpolation: str = ""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"

    @property
    def full_name(self) -> str:
        """The name that `--weights` takes."""
        return f"{self.source}:{self.name}"

    @property
    def preprocessing(self) -> str:
        """The preprocessing of a test image, in words."""
        size = f"resize {self.resize}, crop {self.crop}, " if self.crop else ""
        interpolation = f"{self.interpolation}, " if self.interpolation else ""
        imagenet = (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)
        pixels = "ImageNet's mean and std" if imagenet else f"mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        return f"{size}{interpolation}{self.channel_order}, {pixels}"

    def metadata(self, arch: str) -> dict:
        """What the publisher says about the weights, under the keys of a residet checkpoint.

        Args:
            arch: the network that the caller wants, or "". Of two names for one network, `arch` counts.
        """
        same = bool(arch) and self in for_network(arch)
        pixels = {"mean": self.mean, "std": self.std, "channel_order": self.channel_order}
        size = {"input_size": self.crop} if self.crop else {}
        return {"arch": get_spec(arch).name if same else self.network, **pixels, **size}


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


@cache
def published() -> tuple[PublishedWeights, ...]:
    """All rows, in the order of the file."""
    groups = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    rows = (group["common"] | {"source": group["source"]} | row for group in groups for row in group["rows"])
    return tuple(
        PublishedWeights(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows
    )


def find(name: str) -> PublishedWeights:
    """The row of a name such as "timm:resnet50.a1_in1k", or the best row of a network, such as "timm:resnet50".

    Raises:
        InputError: there is no such row; the message suggests similar names.
    """
    rows = {row.full_name: row for row in published()}
    if name in rows:
        return rows[name]
    if tagged := [row for full_name, row in rows.items() if full_name.startswith(name + ".")]:
        return max(tagged, key=_rank)
    similar = difflib.get_close_matches(name, rows, n=3)
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    raise InputError(f"{name}: no such weights: {hint}--list-weights prints all names")


def for_network(arch: str) -> list[PublishedWeights]:
    """The rows of a network of the catalogue, the best first.

    Raises:
        InputError: the catalogue has no network of that name.
    """
    spec = get_spec(arch)
    names = {spec.name} | {row.name for row in CATALOGUE.values() if spec.timm and row.timm == spec.timm}
    return sorted((row for row in published() if row.network in names), key=_rank, reverse=True)


def best(arch: str) -> PublishedWeights:
    """The weights that `auto` stands for.

    The best are those of the highest top-1 accuracy among classifiers that were trained on ImageNet-1K alone, as in the
    papers, and whose licence allows commercial use.

    Raises:
        InputError: nobody has published such weights for the network.
    """
    if rows := [row for row in for_network(arch) if _is_candidate(row)]:
        return rows[0]
    raise InputError(
        f"auto: {_none_for(arch)}; pretrain the network (tools/pretrain.py --arch {arch}), name a file, or start from "
        "random weights (tools/train_net.py --from-scratch)"
    )


def _none_for(arch: str) -> str:
    return f"nobody has published PyTorch weights of {get_spec(arch).name} for ImageNet"


def _is_candidate(row: PublishedWeights) -> bool:
    return row.top1 is not None and row.trained_on == _IMAGENET and "-NC-" not in row.licence


def _rank(row: PublishedWeights) -> tuple:
    # To one decimal: a library's copy of another's file differs in the second, and the file's publisher comes first.
    return (_is_candidate(row), round(row.top1 or 0, 1), row.box_ap or 0)


def weights_table(arch: str = "", table_format: str = "simple") -> str:
    """A table of the published weights, with accuracy, preprocessing and licence. `auto` takes the row with a star.

    Args:
        arch: name of a network, or "" for all networks that have weights.
        table_format: name of a format of tabulate.

    Raises:
        InputError: the catalogue has no network of that name.
    """
    networks = [arch] if arch else dict.fromkeys(row.network for row in published())
    rows = [row for name in networks for row in for_network(name)]
    if not rows:
        return _none_for(arch)
    best_rows = {next(filter(_is_candidate, for_network(name)), None) for name in networks}
    cells = [
        (
            row.full_name + (" *" if row in best_rows else ""),
            row.network,
            "" if row.top1 is None else f"{row.top1:.1f}",
            "" if row.box_ap is None else f"{row.box_ap:.1f}",
            row.trained_on,
            row.preprocessing,
            row.licence,
        )
        for row in rows
    ]
    return tabulate(cells, _COLUMNS, tablefmt=table_format, disable_numparse=True)
