"""Exports a detector to ONNX, OpenVINO's IR or torch.export, and checks what the file detects in the user's images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from backbones.portable.files import OPSET, new_file, open_written, trace, write, write_reduced
from backbones.portable.precision import Measure, cost, reduce_precision
from detection.exporting.graph import DetectorGraph, check_exportable
from detection.exporting.parity import Parity, check_parity, detections_to_check
from detection.exporting.runtime import RuntimeDetector

import numpy as np
import torch
from torch import nn

_SMALLEST = 96  # smallest side of an image, in pixels, so that the coarsest map has two rows


def export_detector(
    model: nn.Module,
    output: str | Path,
    format_name: str,
    images: Sequence[dict],
    precision: str = "float32",
    samples: Sequence[np.ndarray] = (),
    measure: Measure | None = None,
    max_loss: float = 1.0,
) -> tuple[Parity, str]:
    """Writes a whole detector with its postprocessing as a file that other runtimes run, and checks the file.

    The file takes one image (H, W, 3) uint8 RGB that has been resized so that its short side is `min_size` and its long
    side at most `max_size`; H and W are free from 96 pixels on. The outputs are boxes (D, 4) in pixels of that image,
    scores (D,) and classes (D,). The metadata hold classes, sizes and score threshold.

    Args:
        model: what `build_detector` gives, on the CPU.
        output: the file, .onnx, .xml (OpenVINO; its weights beside it in .bin) or .pt2; must not exist.
        format_name: a name in `backbones.portable.SUFFIXES`.
        images: inputs of the model to check the file with.
        precision: a name in `PRECISIONS`. A file in fewer bits than float32 detects other objects; what is checked is
            the file in float32 that it is made of.
        samples: (H, W, 3) uint8 RGB, resized: images from which int8 takes its ranges.
        measure: for fewer bits, scores a file on data with truth.
        max_loss: for fewer bits, the largest loss of that score, in points of %.

    Returns:
        how the detections of the file in float32 differ from the model's; what fewer bits cost and gain, in words.

    Raises:
        InputError: the detector cannot be exported, `output` exists, the model detects nothing in the images, a package
            is missing, the file detects other objects than the model, or fewer bits cost too much; then there is no
            file.
    """
    check_exportable(model)
    with new_file(output, format_name) as path:
        detected = detections_to_check(model, images)
        exact = path if precision == "float32" else path.with_stem(f"{path.stem}.float32")
        write_detector(model, exact)
        predictor = model.roi_heads.box_predictor
        exported = RuntimeDetector(open_written(exact), model.cfg.INPUT.FORMAT)
        parity = check_parity(detected, exported, images, predictor.test_score_thresh, predictor.test_topk_per_image)
        if exact == path:
            return parity, ""
        reduce = functools.partial(reduce_precision, precision=precision, samples=samples)
        write_reduced(exact, path, _metadata(model, precision), reduce)
        return parity, cost(exact, path, measure, max_loss)


def write_detector(model: nn.Module, path: Path) -> None:
    """As `export_detector`, in float32 and without the checks: the file's format follows from its ending.

    Raises:
        InputError: the detector cannot be exported, or a package is missing.
    """
    graph = DetectorGraph(model, model.cfg.INPUT.FORMAT).eval()
    example = torch.zeros(_SMALLEST * 2, _SMALLEST * 3, 3, dtype=torch.uint8)
    program = trace(graph, example, {0: ("height", _SMALLEST), 1: ("width", _SMALLEST)})
    write(program, path, ["image"], ["boxes", "scores", "classes"], _metadata(model, "float32"))


def _metadata(model: nn.Module, precision: str) -> dict:
    cfg = model.cfg
    return {
        "task": "detection",
        "classes": list(model.classes),
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "channel_order": "RGB",
        "smallest_side": _SMALLEST,
        "score_threshold": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        "nms_threshold": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
        "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "opset": OPSET,
        "precision": precision,
    }
