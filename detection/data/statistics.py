"""Shows a data set before a training: counts and sizes of its boxes, unreadable images, and pictures of its boxes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.drawing import draw_boxes
from detection.data.mapper import DetectionMapper
from detection.data.pixels import read_image
from residet.progress import progress

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import convert_image_to_rgb
from PIL import Image
from tabulate import tabulate

# COCO's limits between small, medium and large objects: area in pixels.
_SMALL, _LARGE = 32**2, 96**2
# The sizes that `describe` gives percentiles of.
SIZES = {
    "image_side": "image side, px",
    "box_side": "box side, px",
    "box_aspect": "box height / width",
    "boxes_per_image": "boxes in an image",
}
_CELL = 480  # side of the square that each picture of a sheet gets, in pixels


def describe(name: str) -> dict:
    """Counts the images and boxes of a data set and measures their sizes.

    Args:
        name: registered data.

    Returns:
        a dict. "images", "boxes", "images_without_boxes", "crowds" and "difficult" are counts. "classes" has for each
        class the number of "images" and "boxes", and of "small", "medium" and "large" boxes (COCO's limits, by the area
        of the box). "image_side" and "box_side" (square root of the area), in pixels, "box_aspect" (height / width) and
        "boxes_per_image" are lists of the percentiles 0, 5, 50, 95 and 100. If the data have no boxes, "box_side" and
        "box_aspect" are empty.
    """
    records, names = DatasetCatalog.get(name), MetadataCatalog.get(name).thing_classes
    annotations = [(i, a) for i, r in enumerate(records) for a in r.get("annotations", ())]
    boxes = np.array([a["bbox"] for _, a in annotations], dtype=float).reshape(-1, 4)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    kinds = np.array([a["category_id"] for _, a in annotations], dtype=int)
    area = width * height
    classes = {}
    for k, class_name in enumerate(names):
        in_class = kinds == k
        classes[class_name] = {
            "images": len({i for i, a in annotations if a["category_id"] == k}),
            "boxes": int(in_class.sum()),
            "small": int((in_class & (area < _SMALL)).sum()),
            "medium": int((in_class & (area >= _SMALL) & (area < _LARGE)).sum()),
            "large": int((in_class & (area >= _LARGE)).sum()),
        }
    per_image = np.array([len(r.get("annotations", ())) for r in records])
    return {
        "images": len(records),
        "boxes": len(annotations),
        "images_without_boxes": int((per_image == 0).sum()),
        "crowds": sum(a["iscrowd"] for _, a in annotations),
        "difficult": sum(a.get("difficult", 0) for _, a in annotations),
        "classes": classes,
        "image_side": _percentiles(np.array([r[k] for r in records for k in ("width", "height")])),
        "box_side": _percentiles(np.sqrt(area)),
        "box_aspect": _percentiles(height / width),
        "boxes_per_image": _percentiles(per_image),
    }


def _percentiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in np.percentile(values, [0, 5, 50, 95, 100])] if len(values) else []


def as_text(description: dict) -> str:
    """The dict that `describe` returns, as a line of counts and two tables."""
    classes = [[name, *row.values()] for name, row in description["classes"].items()]
    head = ", ".join(
        f"{description[k]} {k.replace('_', ' ')}"
        for k in ("images", "boxes", "images_without_boxes", "crowds", "difficult")
    )
    rows = [[title, *description[k]] for k, title in SIZES.items()]
    return "\n".join(
        [
            head,
            tabulate(classes, ["class", "images", "boxes", "small", "medium", "large"]),
            tabulate([r for r in rows if len(r) > 1], ["", "least", "5 %", "median", "95 %", "most"]),
        ]
    )


def unreadable(name: str) -> dict[str, str]:
    """Decodes every image of a data set, to find the broken ones.

    Args:
        name: registered data.

    Returns:
        path of each image that cannot be decoded, or whose size is not the annotation's -> what is wrong.
    """
    problems = {}
    for record in progress(DatasetCatalog.get(name), desc=f"decode {name}", unit="img", leave=False):
        try:
            read_image(record, "RGB")
        except InputError as e:
            problems[record["file_name"]] = str(e)
    return problems


def draw_samples(name: str, records: Sequence[dict], count: int, path: Path, seed: int) -> None:
    """Saves a sheet of randomly chosen images with their boxes.

    Args:
        name: registered data, for the names of the classes.
        records: dataset dicts to choose from.
        count: number of images; if `records` are fewer, all are drawn.
        path: the picture to write.
        seed: seed of the choice.

    Raises:
        InputError: an image cannot be decoded, or the annotation states another size.
    """
    chosen = random.Random(seed).sample(records, min(count, len(records)))
    names = MetadataCatalog.get(name).thing_classes
    drawn = []
    for record in chosen:
        annotations = record.get("annotations", [])
        boxes, classes = [a["bbox"] for a in annotations], [a["category_id"] for a in annotations]
        drawn.append(draw_boxes(read_image(record, "RGB"), boxes, classes, names))
    _save_sheet(drawn, path)


def draw_augmented(cfg: CfgNode, name: str, records: Sequence[dict], count: int, path: Path, seed: int) -> int:
    """Saves a sheet of training examples: randomly chosen images after augmentation, with the boxes that are left.

    Args:
        cfg: the config; INPUT says how to augment.
        name: registered data, for the names of the classes.
        records: dataset dicts to choose from. One image may be chosen several times, images without boxes never.
        count: number of examples.
        path: the picture to write.
        seed: seed of the choice and the augmentation.

    Returns:
        number of boxes that augmentation left without area.

    Raises:
        InputError: no image has a box, or an image cannot be read.
    """
    names = MetadataCatalog.get(name).thing_classes
    mapper = DetectionMapper(cfg, True)
    np.random.seed(seed)
    drawn, dropped = [], 0
    annotated = [r for r in records if r.get("annotations")]
    if not annotated:
        raise InputError(f"{name}: has no boxes to augment; leave --augmented out")
    for record in random.Random(seed).choices(annotated, k=count):
        example = mapper(record)
        dropped += example["dropped_boxes"]
        image = convert_image_to_rgb(example["image"].permute(1, 2, 0), cfg.INPUT.FORMAT)
        objects = example["instances"]
        drawn.append(draw_boxes(image, objects.gt_boxes.tensor.numpy(), objects.gt_classes.tolist(), names))
    _save_sheet(drawn, path)
    return dropped


def _save_sheet(images: Sequence[np.ndarray], path: Path) -> None:
    """Saves images (H, W, 3) uint8 RGB as one picture: a grid of square cells, one image in each, shrunk to fit."""
    columns = max(round(len(images) ** 0.5), 1)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * _CELL, max(rows, 1) * _CELL), "white")
    for i, image in enumerate(images):
        picture = Image.fromarray(image)
        picture.thumbnail((_CELL - 8, _CELL - 8))
        sheet.paste(picture, (i % columns * _CELL + 4, i // columns * _CELL + 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
