"""A detector's, a classifier's or a backbone's file -> a file that runs without this project."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.portable.files import Session, target_files
from backbones.portable.networks import export_network
from backbones.portable.precision import Measure, Score
from backbones.weights.read import read_weights
from detection.build import build_trained_detector
from detection.data.catalog import resolve_datasets
from detection.data.layouts.sources import find_split
from detection.data.mapper import DetectionMapper
from detection.exporting.detectors import export_detector
from detection.exporting.runtime import RuntimeDetector, pixels_for
from detection.inference.modes import resolve_plain_testing
from detection.prediction.images import pixels_of
from detection.prediction.sources import Images, find_source
from detection.trainer import DetectionTrainer

from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn

_CHECKED = 8  # most images that a file is checked with
_SAMPLED = 64  # most images that int8 takes its ranges from


def export_portable(
    source: str | Path,
    output: str | Path,
    format_name: str,
    part: str | None,
    images: Sequence[str],
    arch: str = "",
    config: str | Path | None = None,
    precision: str = "float32",
    data: str = "",
    max_loss: float = 1.0,
    measure_classifier: Callable[[], Measure] | None = None,
) -> str:
    """Writes a file for ONNX Runtime, OpenVINO or torch.export, and checks the file in its runtime.

    Args:
        source: a checkpoint.
        output: the file; must not exist.
        format_name: a name in `backbones.portable.SUFFIXES`.
        part: a name in `backbones.portable.PARTS`; None takes all that the checkpoint holds.
        images: image files, folders and patterns. The first of the images are what the file is checked with. int8 takes
            the range of each layer's values from them, which training images show best.
        arch: name of the network of a classifier that does not name it.
        config: config of a detector that does not say how it is built.
        precision: a name in `backbones.portable.PRECISIONS`.
        data: for fewer bits than float32, annotated data on which a detector's loss of AP is measured.
        max_loss: the largest loss of AP, or of top-1 accuracy, in points of %, with which the file stays.
        measure_classifier: makes what measures a classifier's accuracy in fewer bits.

    Returns:
        a line for the user: what the file holds, how exact the file is, and what fewer bits cost and gain.

    Raises:
        InputError: the checkpoint, the images or the data cannot be read, `output` exists, the network cannot be
            exported, the file gives other values than the network, or fewer bits cost too much; then there is no file.
    """
    target_files(output, format_name)  # refuses a wrong name before anything is read
    chosen = find_source(images) if images else None
    if not isinstance(chosen, Images):
        raise InputError("--images: name images to check the file with, such as a folder of the test images")
    reduced = precision != "float32"
    if reduced and format_name == "torch-export":
        raise InputError(f"--precision: torch-export takes float32 alone, not {precision}; export to onnx or openvino")
    paths = chosen.paths[: _SAMPLED if reduced else _CHECKED]
    part = part or ("detector" if config or read_weights(source).is_detector else "classifier")
    if reduced and part != "backbone" and not data:
        raise InputError(f"--data: name annotated data on which the cost of {precision} is measured, such as DIR:val")
    if part != "detector":
        pixels = [pixels_of(path, "RGB") for path in paths]
        measure = measure_classifier() if reduced and part == "classifier" and measure_classifier else None
        return export_network(source, output, format_name, part, pixels, arch, precision, measure, max_loss)
    model = build_trained_detector(config or source, source if config else None, ["MODEL.DEVICE", "cpu"])
    mapper = DetectionMapper(model.cfg, False)
    inputs = [{**mapper.of_image(pixels_of(path, model.cfg.INPUT.FORMAT)), "file_name": str(path)} for path in paths]
    samples, measure = [], None
    if reduced:
        samples = [pixels_for(entry["image"], model.cfg.INPUT.FORMAT) for entry in inputs]
        measure = measure_detector(model, data)
    parity, words = export_detector(
        model, output, format_name, inputs[:_CHECKED], precision, samples, measure, max_loss
    )
    return f"{output}: detector of {len(model.classes)} classes for {format_name} in {precision}; " + (
        words
        or f"in {parity.images} images it detects the {parity.detections} objects that the model detects: boxes to "
        f"{parity.pixels:.4f} pixels, scores to {parity.score:.1e}"
    )


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
