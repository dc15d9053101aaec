"""AP and speed of a detector in an exported file, on the user's data."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from backbones.errors import InputError
from backbones.portable.files import Session
from backbones.portable.precision import Measure, Score
from detection.data.catalog import resolve_datasets
from detection.data.layouts.sources import find_split
from detection.exporting.runtime import RuntimeDetector
from detection.inference.modes import resolve_plain_testing
from detection.trainer import DetectionTrainer

from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn


def measure_detector(model: nn.Module, data: str) -> Measure:
    """What scores files of a detector by COCO's AP.

    Args:
        model: the detector that the files are made of.
        data: annotated data, as `--val` of tools/train_net.py takes them.

    Raises:
        InputError: the data cannot be read, have no annotations, or have classes that the detector does not know.
    """
    cfg = model.cfg.clone()
    cfg.defrost()
    name = find_split(data, "val", "--data", "")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.DATASETS.CLASSES = (), (name,), tuple(model.classes)
    cfg.TEST.EVALUATORS, cfg.TEST.LOSS = ("coco",), False
    resolve_plain_testing(cfg)
    resolve_datasets(cfg)
    if not MetadataCatalog.get(name).annotated:
        raise InputError(f"--data: {data} has no annotations; name data with boxes")

    def measure(session: Session) -> Score:
        with tempfile.TemporaryDirectory() as folder:
            cfg.OUTPUT_DIR = folder
            results = DetectionTrainer.test(cfg, RuntimeDetector(session, cfg.INPUT.FORMAT))
            seconds = json.loads(Path(folder, "inference", "speed.json").read_text())
        return Score("AP", results["bbox"]["AP"], name, len(DatasetCatalog.get(name)), seconds["inference_ms"])

    return measure
