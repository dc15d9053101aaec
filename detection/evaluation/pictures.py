"""Draws annotated objects and detections of test images side by side, for files and for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detection.data.drawing import draw_boxes
from detection.data.loader import records_of
from detection.data.mapper import DetectionMapper
from detection.data.pixels import read_image
from detection.inference.modes import as_tested

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm
from PIL import Image
from torch import nn

# Smaller images are enlarged to this width in pixels, so that the labels can be read.
_PICTURE_WIDTH = 640
_SHOWN_SCORE = 0.5  # detections with a higher score are drawn
_ON_THE_WAY = 2  # most pictures that TensorBoard gets after an evaluation in training


def draw_pictures(cfg: CfgNode, model: nn.Module, dataset_name: str, folder: Path, count: int) -> None:
    """Draws the first images of a data set into PNG files: annotated objects on the left, detections on the right.

    Args:
        cfg: the config of the model.
        model: the detector.
        dataset_name: registered data. Without annotations only the detections are drawn.
        folder: the folder to write to. A picture has the name of its image.
        count: number of images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for record, picture in pictures(cfg, model, dataset_name, count):
        Image.fromarray(picture).save(folder / f"{Path(record['file_name']).stem}.png")


@torch.no_grad()
def pictures(cfg: CfgNode, model: nn.Module, dataset_name: str, count: int) -> Iterator[tuple[dict, np.ndarray]]:
    """Draws the first images of a data set: annotated objects on the left, detections with a score above 0.5 right.

    Args:
        cfg: the config of the model; TEST says how the model is tested.
        model: the detector. It is in evaluation mode until the last picture has been drawn.
        dataset_name: registered data. Without annotations only the detections are drawn.
        count: number of images.

    Yields:
        a dataset dict and its picture, (H, W, 3) uint8 RGB.
    """
    names = MetadataCatalog.get(dataset_name).thing_classes
    mapper, tested = DetectionMapper(cfg, False), as_tested(cfg, model)
    was_training = model.training
    tested.eval()
    for record in records_of(cfg, dataset_name)[:count]:
        detections = tested([mapper(record)])[0]["instances"].to("cpu")
        detections = detections[detections.scores > _SHOWN_SCORE]
        image = read_image(record, "RGB")
        scale = max(1.0, _PICTURE_WIDTH / record["width"])
        boxes, classes = detections.pred_boxes.tensor.numpy(), detections.pred_classes.tolist()
        drawn = [draw_boxes(image, boxes, classes, names, detections.scores.tolist(), scale)]
        if "annotations" in record:
            truth = record["annotations"]
            boxes, classes = [a["bbox"] for a in truth], [a["category_id"] for a in truth]
            drawn.insert(0, draw_boxes(image, boxes, classes, names, scale=scale))
        yield record, np.hstack(drawn)
    model.train(was_training)


class SamplePictures(HookBase):
    """Sends pictures of the first images of the first test set to TensorBoard after each evaluation.

    Args:
        cfg: the config. TEST.PICTURES, if less than 2, is the number of pictures; otherwise two are sent.
        model: the detector to draw detections of.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module):
        self.cfg = cfg
        self.model = model

    def after_step(self):
        has_no_detections = self.cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork"
        if not self.trainer.fresh_results or has_no_detections or not comm.is_main_process():
            return
        name = self.cfg.DATASETS.TEST[0]
        for i, (_, picture) in enumerate(
            pictures(self.cfg, self.model, name, min(self.cfg.TEST.PICTURES, _ON_THE_WAY))
        ):
            self.trainer.storage.put_image(f"{name}/{i}", picture.transpose(2, 0, 1))
