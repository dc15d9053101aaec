"""Results as a table, as JSON and as pictures."""

from __future__ import annotations

import json
from pathlib import Path

from detection.mapper import read_image

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.utils.visualizer import Visualizer
from PIL import Image
from tabulate import tabulate
from torch import nn

# Pictures are drawn at least so many pixels wide, so that labels can be read.
_PICTURE_WIDTH = 640
_SHOWN_SCORE = 0.5


def summary(results: dict, classes: tuple[str, ...]) -> dict[str, float]:
    """AP, AP50, AP75, VOC's AP50, and AP per class, all in %, of what the evaluators returned."""
    columns = {}
    if "bbox" in results:
        box = results["bbox"]
        if len(classes) == 1:  # detectron2 then gives no figure per class
            box = {**box, f"AP-{classes[0]}": box["AP"]}
        columns = {k: box[k] for k in ("AP", "AP50", "AP75")}
        per_class = {f"AP {c}": box[f"AP-{c}"] for c in classes}
    if "voc" in results:
        columns["VOC AP50"] = results["voc"]["AP50"]
        if "bbox" not in results:
            per_class = {f"VOC AP50 {c}": results["voc"][f"AP50-{c}"] for c in classes}
    return columns | per_class


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: a line per row name, a column per figure."""
    columns = list(dict.fromkeys(k for row in rows.values() for k in row))
    body = [[name, *(row.get(c) for c in columns)] for name, row in rows.items()]
    return tabulate(body, ["", *columns], tablefmt="github", floatfmt=".1f", missingval="-")


def write_json(content: dict, path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


@torch.no_grad()
def draw_pictures(cfg: CfgNode, model: nn.Module, dataset_name: str, folder: Path, count: int) -> None:
    """Draws images of a data set, truth left and prediction (scores from 0.5) right, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = MetadataCatalog.get(dataset_name)
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    was_training = model.training
    model.eval()
    for record in DatasetCatalog.get(dataset_name)[:count]:
        image = read_image(record, cfg.INPUT.FORMAT)
        small = resize.get_transform(image).apply_image(image)
        entry = {
            "image": torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1))),
            "height": record["height"],
            "width": record["width"],
        }
        found = model([entry])[0]["instances"].to("cpu")
        rgb = image if cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1]
        scale = max(1.0, _PICTURE_WIDTH / record["width"])
        truth = Visualizer(rgb, metadata, scale).draw_dataset_dict(record)
        prediction = Visualizer(rgb, metadata, scale).draw_instance_predictions(found[found.scores > _SHOWN_SCORE])
        both = np.hstack([truth.get_image(), prediction.get_image()])
        Image.fromarray(both).save(folder / f"{Path(record['file_name']).stem}.png")
    model.train(was_training)
