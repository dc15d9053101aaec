"""The model card beside a run's checkpoints: what the network is, how it was trained, tested, and is loaded."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backbones.errors import InputError, printable
from backbones.weights.published import find
from backbones.whole_files import write_text
from residet.summary import precision, schedule

import jinja2
from detectron2.config import CfgNode

_SHOWN = 100  # classes that the table has
_CHECKPOINTS = ("model_final.pth", "model_best.pth", "model_ema.pth")
NAME = "model_card.md"


class Plain(str):
    """A text that is Markdown already."""


@dataclass(frozen=True)
class DataOfCard:
    """Data that a network was trained or tested on.

    Attributes:
        name: name of the data.
        use: "training" or "test".
        images: number of images.
        classes: class -> number of its objects, or of its images.
        boxes: number of objects; None for data without boxes.
    """

    name: str
    use: str
    images: int
    classes: Mapping[str, int]
    boxes: int | None = None


@dataclass(frozen=True)
class Card:
    """What a card says beyond what follows from the config.

    Attributes:
        title: the network in words.
        tag: the task, by Hugging Face's name.
        network: facts on the network.
        code: Python that loads the file.
        preprocessing: facts on what happens to an image.
        classes: names of the classes.
        data: the data.
        recipe: facts on the training.
        figures_of: a sentence on what the figures are.
        figures: data -> figure -> value.
        limits: sentences.
    """

    title: str
    tag: str
    network: Mapping[str, object]
    code: str
    preprocessing: Mapping[str, object]
    classes: Sequence[str]
    data: Sequence[DataOfCard]
    recipe: Mapping[str, object]
    figures_of: str
    figures: Mapping[str, Mapping[str, float]]
    limits: Sequence[str] = field(default=())

    @property
    def has_boxes(self) -> bool:
        """Whether the data have objects in boxes."""
        return any(row.boxes is not None for row in self.data)


def write_card(cfg: CfgNode, card: Card, parameters: int) -> Path:
    """Writes OUTPUT_DIR/model_card.md.

    Names of classes and files are text in the card, never Markdown or HTML.

    Args:
        cfg: the config of the run.
        card: what the task says.
        parameters: number of the network's parameters.

    Returns:
        the file.
    """
    folder = Path(cfg.OUTPUT_DIR)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("residet"), trim_blocks=True, lstrip_blocks=True, finalize=_as_text
    )
    text = environment.get_template(NAME).render(
        card=card,
        code=Plain(card.code),
        version=importlib.metadata.version("residet"),
        parameters=f"{parameters / 1e6:.2f}",
        files=Plain(", ".join(f"`{name}`" for name in _CHECKPOINTS if (folder / name).is_file())),
        licence=_licence(cfg.MODEL.WEIGHTS),
        shown=_SHOWN,
    )
    write_text(re.sub(r"\n{3,}", "\n\n", text), folder / NAME)
    return folder / NAME


def recipe_of(cfg: CfgNode, images: int) -> dict[str, object]:
    """The facts on a training that follow from the keys of both sides.

    Args:
        cfg: the config of the run.
        images: number of training images.
    """
    return {
        "start": cfg.MODEL.WEIGHTS or "random weights",
        "schedule": schedule(cfg, images),
        "weight decay": cfg.SOLVER.WEIGHT_DECAY,
        "precision": precision(cfg),
        "seed": cfg.SEED,
    }


def _licence(weights: str) -> str:
    if not weights:
        return "none: the training started from random weights"
    try:
        return find(weights).licence
    except InputError:
        return f"not known to residet: look where {weights} is from"


def _as_text(value: object) -> object:
    """A value as Markdown that shows it as it is."""
    if isinstance(value, Plain | jinja2.Undefined) or not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", printable(value)).replace("\n", " ")
