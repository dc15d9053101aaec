"""How long does a training image take from its file to a detector's input, against detectron2's DatasetMapper?

The job: read and decode, resize the short side to 800 px, mirror, the boxes with the image. Both sides draw the same
random numbers. One core. The annotations are made up.

benchmarks/detection_input.py FOLDER
"""

import argparse
from pathlib import Path

from detection.config import default_config
from detection.data.mapper import DetectionMapper

import cv2
import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from harness import Job, compare, write
from PIL import Image

OBJECTS = 7  # of each image, as many as in COCO


def records_of(folder):
    """A dataset dict with made-up boxes for each JPEG file below `folder`."""
    rng, records = np.random.default_rng(0), []
    paths = (p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg"))
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            width, height = image.size
        corners = np.sort(rng.uniform(0, 1, (OBJECTS, 2, 2)), axis=1) * (width, height)
        boxes = [{"bbox": b, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for b in corners.reshape(-1, 4).tolist()]
        annotations = [a | {"iscrowd": 0} for a in boxes]
        size = {"width": width, "height": height, "image_id": i, "annotations": annotations}
        records.append({"file_name": str(path)} | size)
    return records


def mapped(mapper, records):
    """The model's inputs of all records."""
    np.random.seed(0)
    return [mapper(record) for record in records]


def agree(a, b):
    """The same boxes, and images that differ by rounding: mean difference below 1 of 255 levels."""
    for x, y in zip(a, b, strict=True):
        boxes = (e["instances"].gt_boxes.tensor for e in (x, y))
        torch.testing.assert_close(*boxes, atol=1e-3, rtol=0)
        assert x["image"].shape == y["image"].shape
        assert (x["image"].float() - y["image"].float()).abs().mean() < 1


def main():
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with JPEG files, also in subfolders")
    records = records_of(parser.parse_args().folder)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    cfg = default_config()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.ALBUMENTATIONS = (800,), 1333, []
    ours, peer = DetectionMapper(cfg, True), DatasetMapper(cfg, is_train=True)
    job = Job(
        f"file to model input at 800 px, {len(records)} photographs",
        lambda: mapped(ours, records),
        lambda: mapped(peer, records),
        "detectron2's DatasetMapper",
        agree,
        "same boxes within 0.001 px; mean difference of a pixel below 1 of 255",
        1.8,
        5,
    )
    write(__doc__.splitlines()[0], [compare(job)])


if __name__ == "__main__":
    main()
