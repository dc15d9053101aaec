"""Reads and writes files of proposals: boxes in which an RPN, or a system such as AttractioNet, expects an object.

A file of proposals, `.pth` or `.pkl`, holds a dict in detectron2's format:

    ids                ids of the images of a data set, in any order
    boxes              for each image an array (N, 4)
    objectness_logits  for each image an array (N,); the key may also be `scores`
    bbox_mode          detectron2's BoxMode as a number: 0 for x0, y0, x1, y1 (the default), 1 for x0, y0, w, h

Instead of a file there may be a folder of MATLAB files in AttractioNet's format: STEM.mat for the image STEM.jpg.
Each file holds a matrix `boxes` with rows of x0, y0, x1, y1, score. Pixels count from 1; x1, y1 is the last pixel in
the box.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint

import numpy as np
import scipy.io
import torch
from detectron2.structures import BoxMode, Instances

# Boxes that reach more pixels beyond their image than this were made for another image.
_EDGE_TOLERANCE = 2.0


def attach_proposals(records: list[dict], file: str) -> list[dict]:
    """Adds proposals from a file to dataset dicts.

    Args:
        records: dataset dicts; not changed.
        file: a file or folder of proposals, see the module.

    Returns:
        copies of the dataset dicts with `proposal_boxes` (N, 4), `proposal_objectness_logits` (N,), best first, and
        `proposal_bbox_mode`: the keys that detectron2's `transform_proposals` takes.

    Raises:
        InputError: the file holds no proposals, or proposals for other images; the message names the first such image.
    """
    boxes, scores = _read_folder(Path(file), records) if Path(file).is_dir() else read_proposals(file)
    missing = [r["image_id"] for r in records if r["image_id"] not in boxes]
    if missing:
        raise InputError(
            f"{file}: has no proposals for {len(missing)} of {len(records)} images, the first with id {missing[0]!r}; "
            "the file was made for other data"
        )
    return [_attach(record, boxes[record["image_id"]], scores[record["image_id"]], file) for record in records]


def _attach(record: dict, boxes: np.ndarray, scores: np.ndarray, file: str) -> dict:
    """A copy of a dataset dict with its proposals, after a check of the proposals.

    Args:
        record: the dataset dict.
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,).
        file: the file of the proposals, for messages.
    """
    where = f"{file}: image {record['image_id']!r}"
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise InputError(f"{where}: boxes of shape {boxes.shape} and scores of {scores.shape}, not (N, 4) and (N,)")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError(f"{where}: a box or a score is no number")
    edge = np.array([record["width"], record["height"]] * 2)
    if len(boxes) and ((boxes < -_EDGE_TOLERANCE) | (boxes > edge + _EDGE_TOLERANCE)).any():
        raise InputError(
            f"{where}: boxes reach beyond its {edge[0]}x{edge[1]} pixels; the boxes are of another image or image size"
        )
    order = np.argsort(-scores, kind="stable")
    return record | {
        "proposal_boxes": boxes[order],
        "proposal_objectness_logits": scores[order],
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
    }


def read_proposals(file: str) -> tuple[dict, dict]:
    """Reads a file of proposals in detectron2's format.

    Returns:
        two dicts: image id -> boxes (N, 4) float32, x0, y0, x1, y1 in pixels; image id -> scores (N,) float32.

    Raises:
        InputError: the file is missing, or does not have the format.
    """
    content = read_checkpoint(file)
    ids = content.get("ids", content.get("indexes"))
    ids = ids.tolist() if hasattr(ids, "tolist") else ids
    scores = content.get("objectness_logits", content.get("scores"))
    boxes = content.get("boxes")
    if not all(isinstance(x, list | tuple) and len(x) == len(ids) for x in (ids or None, boxes, scores)):
        raise InputError(f"{file}: holds no proposals: needs lists `ids`, `boxes`, `objectness_logits` of equal length")
    try:
        mode = BoxMode(int(content.get("bbox_mode", 0)))
        arrays = [np.asarray(b, np.float32).reshape(-1, 4) for b in boxes]
        return (
            {i: BoxMode.convert(b, mode, BoxMode.XYXY_ABS) for i, b in zip(ids, arrays, strict=True)},
            {i: np.asarray(s, np.float32).reshape(-1) for i, s in zip(ids, scores, strict=True)},
        )
    except (TypeError, ValueError) as e:
        raise InputError(f"{file}: `boxes`, `objectness_logits` or `bbox_mode` are not numbers ({e})") from e


def _read_folder(folder: Path, records: list[dict]) -> tuple[dict, dict]:
    """Reads the MATLAB files of a data set's images.

    Args:
        folder: folder of the MATLAB files.
        records: dataset dicts, for the names and ids of the images.

    Returns:
        two dicts as `read_proposals` returns them, without the images that have no MATLAB file.
    """
    boxes, scores = {}, {}
    for record in records:
        path = folder / f"{Path(record['file_name']).stem}.mat"
        if not path.is_file():
            continue
        try:
            rows = np.asarray(scipy.io.loadmat(path)["boxes"], np.float32).reshape(-1, 5)
        except Exception as e:  # scipy raises errors of many types on broken files
            raise InputError(f"{path}: holds no matrix `boxes` of x0, y0, x1, y1, score ({e})") from e
        boxes[record["image_id"]] = rows[:, :4] - np.array([1, 1, 0, 0], np.float32)
        scores[record["image_id"]] = rows[:, 4]
    return boxes, scores


def write_proposals(proposals: Iterable[tuple[object, Instances]], file: str | Path) -> None:
    """Writes a file of proposals in detectron2's format.

    Args:
        proposals: pairs of an image id and the image's proposals, as a detectron2 RPN gives them, in pixels of the
            original image.
        file: the file to write.
    """
    content: dict = {"ids": [], "boxes": [], "objectness_logits": [], "bbox_mode": int(BoxMode.XYXY_ABS)}
    for image_id, instances in proposals:
        content["ids"].append(image_id)
        content["boxes"].append(instances.proposal_boxes.tensor.to("cpu", torch.float32))
        content["objectness_logits"].append(instances.objectness_logits.to("cpu", torch.float32))
    save_checkpoint(content, file)
