"""Measures all that a run evaluates by default against pycocotools, which computes COCO's numbers alone.

benchmarks/evaluation.py --images 1500
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

import detection  # noqa: F401
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.trainer import DetectionTrainer

import numpy as np
import torch
from coco_evaluation import made_up
from detectron2.data import DatasetCatalog
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = 80
SIZE = 640  # pixels; every box that `made_up` draws lies within


def registered(folder, images):
    """Made-up data, registered. Returns the config, the annotation file, and the outputs of a detector."""
    truth, results = made_up(images, np.random.default_rng(0))
    truth["categories"] = [{"id": k, "name": f"class {k:02}"} for k in range(CLASSES)]
    for image in truth["images"]:
        image |= {"file_name": f"{image['id']}.jpg", "width": SIZE, "height": SIZE}
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


def ours(cfg, outputs):
    """COCO's numbers, VOC's, TIDE's errors, the confusion matrix, the curves, and all files."""
    (name,) = cfg.DATASETS.TEST
    evaluator = DetectionTrainer.build_evaluator(cfg, name)
    evaluator.reset()
    evaluator.process(DatasetCatalog.get(name), outputs)
    return evaluator.evaluate()["bbox"]["AP"]


def theirs(cfg, file, outputs):
    """COCO's numbers alone, as detectron2 computes them with pycocotools."""
    records = DatasetCatalog.get(cfg.DATASETS.TEST[0])
    results = []
    for record, output in zip(records, outputs, strict=True):
        results += instances_to_coco_json(output["instances"], record["image_id"])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(file)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return 100 * evaluation.stats[0]


def main():
    """Prints the seconds of both, in turn, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500, metavar="N", help="number of images (default 1500)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="number of evaluations each (default 3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cfg, file, outputs = registered(Path(folder), args.images)
        seconds = {"ours": [], "pycocotools": []}
        for _ in range(args.repeats):
            for name, run in (
                ("ours", lambda: ours(cfg, outputs)),
                ("pycocotools", lambda: theirs(cfg, file, outputs)),
            ):
                start = time.process_time()
                ap = run()
                seconds[name].append(time.process_time() - start)
                print(f"{name:12} {seconds[name][-1]:6.1f} s of CPU  AP {ap:.4f}", flush=True)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["pycocotools"], strict=True)]
    print(f"everything of ours takes 1/{statistics.median(ratios):.2f} of pycocotools' time ({ratios})")


if __name__ == "__main__":
    main()
