"""The model card of a classifier."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from classification.data.datasets import open_split
from classification.data.images import LabelledImages
from residet.card import Card, DataOfCard, recipe_of, write_card

from detectron2.config import CfgNode
from torch import nn

_CODE = """\
import backbones

network = backbones.create_network("{arch}", pretrained="model_final.pth").eval()
logits = network(images)  # images (N, 3, H, W), normalised as below
backbone = backbones.load_backbone("model_final.pth")  # maps for a detector: backbone.feature_maps(images)"""


def write_classifier_card(cfg: CfgNode, network: nn.Module, results: dict[str, float]) -> Path:
    """Writes the card of a run of `classification.trainer.train`.

    Args:
        cfg: the config of the run.
        network: the network.
        results: the errors of the val split.

    Returns:
        the file.
    """
    c = cfg.CLASSIFICATION
    data = [_data(cfg, split, use) for split, use in (("train", "training"), ("val", "test"))]
    figures = {k.replace("_", " "): v for k, v in results.items() if isinstance(v, int | float)}
    normalised = {"mean_std": "mean and std of each channel"}.get(
        c.NORMALISE, f"{c.NORMALISE}, fitted; the file has it"
    )
    pixels = {
        "mean": ", ".join(f"{v:g}" for v in cfg.MODEL.PIXEL_MEAN),
        "std": ", ".join(f"{v:g}" for v in cfg.MODEL.PIXEL_STD),
    }
    card = Card(
        title=f"{c.ARCH}, a classifier of {len(c.CLASSES)} classes",
        tag="image-classification",
        network={"architecture": c.ARCH, "norm": c.NORM},
        code=_CODE.format(arch=c.ARCH),
        preprocessing={
            "size": f"short side {c.RESIZE} px, central crop {c.TEST.SIZE or c.SIZE} px",
            "interpolation": c.INTERPOLATION,
            "order of the channels": "RGB, pixels in 0 to 255",
            "normalisation": normalised,
            **(pixels if c.NORMALISE == "mean_std" else {}),
        },
        classes=c.CLASSES,
        data=data,
        recipe=recipe_of(cfg, data[0].images),
        figures_of="Of model_final.pth on the split val; errors in %.",
        figures={"val": figures},
    )
    return write_card(cfg, card, sum(p.numel() for p in network.parameters()))


def _data(cfg: CfgNode, split: str, use: str) -> DataOfCard:
    images, classes = open_split(cfg, split), cfg.CLASSIFICATION.CLASSES
    counts = Counter(images.labels()) if isinstance(images, LabelledImages) else {}
    return DataOfCard(split, use, len(images), {name: counts.get(i, 0) for i, name in enumerate(classes)})
