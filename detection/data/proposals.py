"""Files of proposals: what an RPN, or another system such as AttractioNet, proposes for every image of a data set.

The file is a dict, as detectron2 has it, `.pth` or `.pkl`:

    ids                image ids, in any order
    boxes              an (N, 4) array for each
    objectness_logits  an (N,) array for each; or `scores`
    bbox_mode          detectron2's BoxMode as a number: 0 for x0, y0, x1, y1 (the default), 1 for x0, y0, w, h

Or a folder of MATLAB files, one an image and named as the image, as AttractioNet writes them: `boxes`, rows of x0, y0,
x1, y1, score, in pixels counted from 1, the last included.
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

# A box further beyond its image than this belongs to another image.
_EDGE_TOLERANCE = 2.0


def attach_proposals(records: list[dict], file: str) -> list[dict]:
    """The dataset dicts with their proposals, best first, as detectron2's `transform_proposals` takes them.

    Raises:
        InputError: the file holds no proposals, or not those of these images; the message names the first image.
    """
    boxes, scores = _read_folder(Path(file), records) if Path(file).is_dir() else read_proposals(file)
    missing = [r["image_id"] for r in records if r["image_id"] not in boxes]
    if missing:
        raise InputError(
            f"{file}: has no proposals for {len(missing)} of {len(records)} images, the first with id {missing[0]!r}; "
            "it was made for other data"
        )
    return [_attach(record, boxes[record["image_id"]], scores[record["image_id"]], file) for record in records]


def _attach(record: dict, boxes: np.ndarray, scores: np.ndarray, file: str) -> dict:
    where = f"{file}: image {record['image_id']!r}"
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise InputError(f"{where}: boxes of shape {boxes.shape} and scores of {scores.shape}, not (N, 4) and (N,)")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError(f"{where}: a box or a score is no number")
    edge = np.array([record["width"], record["height"]] * 2)
    if len(boxes) and ((boxes < -_EDGE_TOLERANCE) | (boxes > edge + _EDGE_TOLERANCE)).any():
        raise InputError(f"{where}: boxes beyond its {edge[0]}x{edge[1]} pixels; they belong to another image or size")
    order = np.argsort(-scores, kind="stable")
    return record | {
        "proposal_boxes": boxes[order],
        "proposal_objectness_logits": scores[order],
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
    }


def read_proposals(file: str) -> tuple[dict, dict]:
    """Image id -> boxes (N, 4) float32, x0, y0, x1, y1 in pixels; and image id -> scores (N,) float32.

    Raises:
        InputError: there is no such file, or it is of another form.
    """
    content = read_checkpoint(file)
    ids = content.get("ids", content.get("indexes"))
    ids = ids.tolist() if hasattr(ids, "tolist") else ids
    scores = content.get("objectness_logits", content.get("scores"))
    boxes = content.get("boxes")
    if not all(isinstance(x, list | tuple) and len(x) == len(ids) for x in (ids or None, boxes, scores)):
        raise InputError(f"{file}: holds no proposals, lists `ids`, `boxes` and `objectness_logits` of one length")
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
    """As `read_proposals`, of the MATLAB files of the images; images without a file are left out."""
    boxes, scores = {}, {}
    for record in records:
        path = folder / f"{Path(record['file_name']).stem}.mat"
        if not path.is_file():
            continue
        try:
            rows = np.asarray(scipy.io.loadmat(path)["boxes"], np.float32).reshape(-1, 5)
        except Exception as e:  # scipy fails in as many ways as there are broken files
            raise InputError(f"{path}: holds no matrix `boxes` of x0, y0, x1, y1, score ({e})") from e
        boxes[record["image_id"]] = rows[:, :4] - np.array([1, 1, 0, 0], np.float32)
        scores[record["image_id"]] = rows[:, 4]
    return boxes, scores


def write_proposals(proposals: Iterable[tuple[object, Instances]], file: str | Path) -> None:
    """Writes (image id, its proposals in the pixels of the original image)."""
    content: dict = {"ids": [], "boxes": [], "objectness_logits": [], "bbox_mode": int(BoxMode.XYXY_ABS)}
    for image_id, found in proposals:
        content["ids"].append(image_id)
        content["boxes"].append(found.proposal_boxes.tensor.to("cpu", torch.float32))
        content["objectness_logits"].append(found.objectness_logits.to("cpu", torch.float32))
    save_checkpoint(content, file)
