"""The model card of a detector."""

from __future__ import annotations

from pathlib import Path

from backbones.registry import spec_of_builder
from detection.data.statistics import describe
from residet.card import Card, DataOfCard, recipe_of, write_card

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

_FEW_OBJECTS = 50  # a class with fewer in training is named
_FEW_IMAGES = 200  # a test set with fewer has a wide interval
_CODE = """\
from detection import Predictor

detections = Predictor("model_final.pth")("photo.jpg")
detections.boxes, detections.scores, detections.names  # x0, y0, x1, y1 in pixels of the photo; in 0 to 1; text"""
_BACKBONE = """\
import backbones

network = backbones.load_backbone("model_final.pth")  # without the detector's other parts"""


def write_detector_card(cfg: CfgNode, model: nn.Module, rows: dict[str, dict[str, float]]) -> Path:
    """Writes the card of a run of `detection.trainer.train`.

    Args:
        cfg: the config of the run, whose data are registered.
        model: the detector.
        rows: what `detection.trainer.report` gave.

    Returns:
        the file.
    """
    used = [(name, "training") for name in cfg.DATASETS.TRAIN]
    used += [(name, "test") for name in cfg.DATASETS.TEST if MetadataCatalog.get(name).annotated]
    data = [_data(name, use) for name, use in used]
    arch = spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
    knows_classes = cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork"
    kind = "Faster R-CNN" if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" else cfg.MODEL.META_ARCHITECTURE
    images = sum(row.images for row in data if row.use == "training")
    card = Card(
        title=f"{kind} on {arch}",
        tag="object-detection",
        network={"architecture": kind, "backbone": arch, "norm": cfg.MODEL.RESNETS.NORM, "frozen": _frozen(cfg)},
        code=_CODE if knows_classes else _BACKBONE,
        preprocessing={
            "size": f"short side {cfg.INPUT.MIN_SIZE_TEST} px, long side at most {cfg.INPUT.MAX_SIZE_TEST} px",
            "order of the channels": cfg.INPUT.FORMAT,
            "mean": ", ".join(f"{v:g}" for v in cfg.MODEL.PIXEL_MEAN),
            "std": ", ".join(f"{v:g}" for v in cfg.MODEL.PIXEL_STD),
        },
        classes=cfg.DATASETS.CLASSES,
        data=data,
        recipe=recipe_of(cfg, images) | _phases(cfg),
        figures_of="Of model_final.pth, in %; AP is COCO's, the mean over IoU .5 to .95. report.html has intervals.",
        figures=rows,
        limits=_limits(data, cfg.DATASETS.CLASSES),
    )
    return write_card(cfg, card, sum(p.numel() for p in model.parameters()))


def _data(name: str, use: str) -> DataOfCard:
    found = describe(name)
    classes = {c: counts["boxes"] for c, counts in found["classes"].items()}
    return DataOfCard(name, use, found["images"], classes, found["boxes"])


def _phases(cfg: CfgNode) -> dict[str, str]:
    return {"phases": ", ".join(phase["name"] for phase in cfg.PHASES)} if cfg.PHASES else {}


def _frozen(cfg: CfgNode) -> str:
    count = cfg.MODEL.BACKBONE.FREEZE_AT
    return ", ".join(["stem", "res2", "res3", "res4", "res5"][:count]) or "nothing"


def _limits(data: list[DataOfCard], classes: tuple[str, ...]) -> list[str]:
    trained, tested = ([row for row in data if row.use == use] for use in ("training", "test"))
    limits = []
    few = {c: sum(row.classes[c] for row in trained) for c in classes}
    if rare := [f"{c} ({few[c]})" for c in classes if few[c] < _FEW_OBJECTS]:
        more = f" and {len(rare) - 20} more" if len(rare) > 20 else ""
        limits.append(f"Classes with fewer than {_FEW_OBJECTS} objects to train on: {', '.join(rare[:20])}{more}.")
    if not tested:
        limits.append("There were no annotated test data: how good the detector is, nobody knows.")
    elif (images := sum(row.images for row in tested)) < _FEW_IMAGES:
        limits.append(f"The test data have {images} images: the AP of other images like them may differ by several %.")
    return limits
