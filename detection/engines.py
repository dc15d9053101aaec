"""What runs a detector for a Predictor: the model in torch, or an exported file in ONNX Runtime or OpenVINO."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from backbones.portable import SUFFIXES
from backbones.portable.files import open_session
from detection.build import build_trained_detector
from detection.config import default_config
from detection.data.mapper import DetectionMapper
from detection.data.resizing import ResizeShortestEdge
from detection.exporting.detectors import write_detector
from detection.exporting.runtime import RuntimeDetector
from detection.inference.modes import as_tested
from detection.inference.tiles import TiledDetector

import numpy as np
from detectron2.config import CfgNode

# Backend of a Predictor beside "torch" -> the format that it takes a checkpoint in.
RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}
# What an exported detector's metadata must say.
_READ = {"classes", "min_size", "max_size", "score_threshold", "nms_threshold"}


@dataclass(frozen=True)
class Engine:
    """A detector that is ready to run.

    Attributes:
        detect: the detector, called like detectron2's models.
        prepare: an image (H, W, 3) uint8 -> the detector's input.
        order: order of the image's channels, "RGB" or "BGR".
        classes: names of the classes.
    """

    detect: Callable[[list[dict]], list[dict]]
    prepare: Callable[[np.ndarray], dict]
    order: str
    classes: tuple[str, ...]


def torch_engine(source: str | Path, weights: str | Path | None, options: Sequence) -> Engine:
    """The engine of a checkpoint or a config, as an evaluation runs the detector.

    Args:
        source: see `build_detector`.
        weights: see `build_detector`.
        options: KEY, VALUE, … pairs that override the config.

    Raises:
        InputError: the detector cannot be built, or does not detect objects in images alone.
    """
    model = build_trained_detector(source, weights, [*options])
    _check_detects(model.cfg, weights or source)
    classes = model.classes or tuple(str(i) for i in range(model.cfg.MODEL.ROI_HEADS.NUM_CLASSES))
    prepare = DetectionMapper(model.cfg, False).of_image
    return Engine(as_tested(model.cfg, model), prepare, model.cfg.INPUT.FORMAT, classes)


def runtime_engine(source: str | Path, backend: str | None, score_threshold: float | None, tiles: int) -> Engine:
    """The engine of an exported file, or of a checkpoint that is exported into a temporary file first.

    Args:
        source: a file of `tools/export.py`, or a checkpoint.
        backend: a name in `RUNTIMES`; None takes the one that fits the file.
        score_threshold: detections with this score or less are left out; None takes the checkpoint's threshold.
        tiles: side of the tiles in which images are looked at, in pixels of the image; 0 for no tiles.

    Raises:
        InputError: the file cannot be opened, holds no detector, or was exported with a higher score threshold.
    """
    if is_exported(source):
        session, metadata = open_session(source, backend or "")
    else:
        options = ["MODEL.DEVICE", "cpu"]
        if score_threshold is not None:
            options += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", float(score_threshold)]
        model = build_trained_detector(source, options=options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "detector").with_suffix(SUFFIXES[RUNTIMES[backend]])
            write_detector(model, path)
            session, metadata = open_session(path, backend)
    if _READ - metadata.keys():
        raise InputError(f"{source}: holds a network for {metadata['task']}, not a detector; export a detector")
    if score_threshold is not None and score_threshold < metadata["score_threshold"]:
        raise InputError(
            f"score_threshold: {source} was exported with {metadata['score_threshold']}, and gives no detections with "
            "a lower score; export it from a checkpoint with a lower MODEL.ROI_HEADS.SCORE_THRESH_TEST"
        )
    detector = RuntimeDetector(session, threshold=score_threshold or 0.0)
    resize = ResizeShortestEdge(metadata["min_size"], metadata["max_size"])
    if tiles:
        overlap = default_config().TEST.TILES.OVERLAP
        detector = TiledDetector(detector, tiles, overlap, resize, metadata["nms_threshold"])
    mapper = DetectionMapper(
        with_instances=False,
        pipeline=None,
        augmentations=[] if tiles else [resize],
        image_format="RGB",
        proposal_topk=0,
    )
    return Engine(detector, mapper.of_image, "RGB", tuple(metadata["classes"]))


def is_exported(source: str | Path) -> bool:
    """Whether a file is of `tools/export.py`, by its ending."""
    return Path(source).suffix in SUFFIXES.values()


def _check_detects(cfg: CfgNode, path: str | Path) -> None:
    """Raises InputError if a model needs more than an image, or gives no objects of classes."""
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        raise InputError(f"{path}: is an RPN, which proposes regions and knows no classes; use tools/propose.py")
    if cfg.MODEL.LOAD_PROPOSALS:
        raise InputError(
            f"{path}: is a Fast R-CNN without an RPN (MODEL.LOAD_PROPOSALS), which needs proposals of each image; "
            "evaluate the detector with tools/train_net.py --eval-only"
        )
