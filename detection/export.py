"""A detector's, a classifier's or a backbone's file -> a file that runs without this project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.portable.files import target_files
from backbones.portable.networks import export_network
from backbones.weights.read import read_weights
from detection.build import build_trained_detector
from detection.data.mapper import DetectionMapper
from detection.exporting.detectors import export_detector
from detection.prediction.images import pixels_of
from detection.prediction.sources import Images, find_source

_CHECKED = 8  # most images that a file is checked with


def export_portable(
    source: str | Path,
    output: str | Path,
    format_name: str,
    part: str | None,
    images: Sequence[str],
    arch: str = "",
    config: str | Path | None = None,
) -> str:
    """Writes a file for ONNX Runtime, OpenVINO or torch.export, and checks the file in its runtime.

    Args:
        source: a checkpoint.
        output: the file; must not exist.
        format_name: a name in `backbones.portable.SUFFIXES`.
        part: a name in `backbones.portable.PARTS`; None takes all that the checkpoint holds.
        images: image files, folders and patterns. The first of the images are what the file is checked with.
        arch: name of the network of a classifier that does not name it.
        config: config of a detector that does not say how it is built.

    Returns:
        a line for the user: what the file holds, and how exact the file is.

    Raises:
        InputError: the checkpoint or the images cannot be read, `output` exists, the network cannot be exported, or the
            file gives other values than the network; then there is no file.
    """
    target_files(output, format_name)  # refuses a wrong name before anything is read
    chosen = find_source(images) if images else None
    if not isinstance(chosen, Images):
        raise InputError("--images: name images to check the file with, such as a folder of the test images")
    paths = chosen.paths[:_CHECKED]
    part = part or ("detector" if config or read_weights(source).is_detector else "classifier")
    if part != "detector":
        pixels = [pixels_of(path, "RGB") for path in paths]
        return export_network(source, output, format_name, part, pixels, arch)
    model = build_trained_detector(config or source, source if config else None, ["MODEL.DEVICE", "cpu"])
    mapper = DetectionMapper(model.cfg, False)
    inputs = [{**mapper.of_image(pixels_of(path, model.cfg.INPUT.FORMAT)), "file_name": str(path)} for path in paths]
    parity = export_detector(model, output, format_name, inputs)
    return (
        f"{output}: detector of {len(model.classes)} classes for {format_name}; in {parity.images} images it detects "
        f"the {parity.detections} objects that the model detects: boxes to {parity.pixels:.4f} pixels, scores to "
        f"{parity.score:.1e}"
    )
