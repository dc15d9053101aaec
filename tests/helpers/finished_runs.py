"""Finished runs of detectors without a training: made-up detections, evaluated and left as a run leaves them."""

import json
from pathlib import Path

from backbones.weights.read import Weights
from backbones.whole_files import write_json
from detection.config import default_config
from detection.data.catalog import resolve_datasets, slug
from detection.data.digest import digest_of_data
from detection.evaluation.report import summary
from detection.trainer import DetectionTrainer
from residet.config import merge_config
from residet.fingerprint import write_run
from residet.output import write_config
from residet.plan import RunPlan

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Boxes, Instances
from PIL import Image
from random_detections import SIZE, as_coco, random_images
from run_tools import PROJECT


def write_truth(folder, classes=("a", "b", "c"), seed=0, count=20):
    """A COCO file with random objects and pictures of noise; returns the file and the images of `random_images`."""
    images = random_images(count=count, seed=seed)
    truth, _ = as_coco(images)
    rng = np.random.default_rng(seed)
    for image in truth["images"]:
        pixels = rng.integers(0, 255, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((SIZE, SIZE)).save(folder / image["file_name"])
    for category, name in zip(truth["categories"], classes, strict=True):
        category["name"] = name
    file = folder / "val.json"
    file.write_text(json.dumps(truth))
    return file, images


def finished_run(folder, truth, images, *, network="resnet18_fpn", seed=0, noise=0.0, weights="", keep=1.0):
    """Writes what a run leaves: config, results, detections, curve, speed and run.json.

    Args:
        folder: OUTPUT_DIR.
        truth: the annotation file.
        images: images as `random_images` makes them.
        network: name of a config.
        seed: SEED, and of the noise.
        noise: standard deviation in pixels that moves the detections' boxes.
        weights: MODEL.WEIGHTS.
        keep: share of the detections that are kept.
    """
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    cfg = default_config()
    merge_config(cfg, str(PROJECT / "configs" / f"faster_rcnn_{network}.yaml"), ["OUTPUT_DIR", str(folder)])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.SEED, cfg.MODEL.WEIGHTS = (), (str(truth),), seed, str(weights)
    cfg.MODEL.DEVICE = "cpu"
    resolve_datasets(cfg)
    (name,) = cfg.DATASETS.TEST
    outputs = []
    for boxes, scores, kinds, *_ in images:
        chosen = rng.random(len(boxes)) < keep
        moved = boxes[chosen] + rng.normal(0, noise, (chosen.sum(), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 2)
        found = Instances((SIZE, SIZE), pred_boxes=Boxes(torch.tensor(moved, dtype=torch.float32)))
        # Of 0 to 1, as a detector's.
        found.scores, found.pred_classes = torch.tensor(scores[chosen] * 50).clip(0, 1), torch.tensor(kinds[chosen])
        outputs.append({"instances": found})
    evaluator = DetectionTrainer.build_evaluator(cfg, name)
    evaluator.reset()
    evaluator.process(DatasetCatalog.get(name), outputs)
    results = evaluator.evaluate()
    write_config(cfg)
    write_json(
        {name: {**summary(results, cfg.DATASETS.CLASSES), **flatten_results_dict(results)}}, folder / "results.json"
    )
    start = Weights(path=str(weights), state={"weight": torch.ones(3)}) if weights else None
    write_run(RunPlan(cfg, weights=start, data=lambda: {"DATASETS.TEST": (name, digest_of_data([name]))}))
    lines = [{"iteration": i, "total_loss": 3 / (1 + i), "lr": 0.01, "time": 0.5} for i in range(0, 100, 20)]
    lines[-1]["bbox/AP"] = results["bbox"]["AP"]
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json({"inference_ms": 12.5, "peak_memory_mb": 900.0, "device": "cpu"}, folder / "inference" / "speed.json")
    assert (folder / "inference" / slug(name) / "coco_instances_results.json").is_file()
    return folder
