"""Made-up objects and detections, by default with as many classes, objects and detections as in COCO's val."""

import json
from pathlib import Path

import detection  # noqa: F401  makes `import detectron2` work
from detection.config import default_config
from detection.data.catalog import resolve_datasets

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

CLASSES = 80
SIZE = 640  # side of an image in pixels; every box lies within


def made_up(images, rng, objects=7, detections=100, classes=CLASSES):
    """Random annotations and detections.

    Args:
        images: number of images.
        rng: numpy's random number generator.
        objects: objects in each image.
        detections: detections in each image.
        classes: number of classes.

    Returns:
        the content of an annotation file, and a list of detections, both in COCO's format.
    """
    categories = [{"id": k, "name": f"class {k:02}"} for k in range(classes)]
    truth = {"info": {}, "images": [], "annotations": [], "categories": categories}
    results = []
    for i in range(images):
        truth["images"].append({"id": i, "file_name": f"{i}.jpg", "width": SIZE, "height": SIZE})
        boxes = rng.uniform(10, 300, (objects, 4))
        kinds = rng.integers(0, classes, objects)
        for box, kind in zip(boxes.tolist(), kinds.tolist(), strict=True):
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": i, "category_id": kind, "bbox": box}
            truth["annotations"].append(annotation | {"area": box[2] * box[3], "iscrowd": 0})
        near = rng.integers(0, objects, detections)
        moved = boxes[near] + rng.normal(0, 8, (detections, 4)).clip(-9, None)
        for box, kind, score in zip(moved.tolist(), kinds[near].tolist(), rng.random(detections).tolist(), strict=True):
            results.append({"image_id": i, "category_id": kind, "bbox": box, "score": score})
    return truth, results


def registered(folder: Path, images: int, classes: int = CLASSES):
    """Made-up data, registered. Returns the config, the annotation file, and the outputs of a detector."""
    truth, results = made_up(images, np.random.default_rng(0), classes=classes)
    for image in truth["images"]:
        (folder / image["file_name"]).touch()
    file = folder / "val.json"
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.OUTPUT_DIR = (), (str(file),), str(folder / "out")
    file.write_text(json.dumps(truth))
    resolve_datasets(cfg)
    outputs = []
    per_image = len(results) // images
    for i in range(images):
        of_image = results[i * per_image : (i + 1) * per_image]
        boxes = torch.tensor([d["bbox"] for d in of_image], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((SIZE, SIZE), pred_boxes=Boxes(boxes))
        instances.scores = torch.tensor([d["score"] for d in of_image], dtype=torch.float32)
        instances.pred_classes = torch.tensor([d["category_id"] for d in of_image])
        outputs.append({"instances": instances})
    return cfg, file, outputs
