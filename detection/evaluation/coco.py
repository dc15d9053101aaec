"""Computes COCO's average precision of registered data, with arrays or with pycocotools, which takes longer."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.whole_files import write_text
from detection.data.layouts.coco import coco_results, coco_truth
from detection.evaluation.boxes import BoxEvaluator
from detection.evaluation.coco_numbers import coco_numbers, overlaps_of_files
from detection.evaluation.overlaps import DatasetDetections, Overlaps

import numpy as np
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import _evaluate_box_proposals
from detectron2.utils import comm

APIS = ("numpy", "pycocotools")

# detectron2's name of each of COCO's size classes -> the letter that the name of a recall gets.
_AREAS = {"all": "", "small": "s", "medium": "m", "large": "l"}
# Names of the numbers in COCOeval.stats, in order.
_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class COCOTruth:
    """Registered data as COCO's evaluation takes them.

    Attributes:
        category_ids: for each class, its id in the data's annotation file; the index of the class if there is no id.
        numbers: id of an image in the data -> its id in `content`. pycocotools sorts images by id, and these numbers
            keep the order of the data.
        content: the content of a COCO annotation file.
    """

    category_ids: list[int]
    numbers: dict[object, int]
    content: dict

    @classmethod
    def of(cls, dataset_name: str) -> COCOTruth:
        """The objects of registered data."""
        metadata, records = MetadataCatalog.get(dataset_name), DatasetCatalog.get(dataset_name)
        ids = category_ids(metadata)
        numbers = {record["image_id"]: i for i, record in enumerate(records, 1)}
        return cls(ids, numbers, coco_truth(records, metadata.thing_classes, ids, numbers))


def category_ids(metadata: Metadata) -> list[int]:
    """For each class of registered data, its id in the data's annotation file; its index if there is no id."""
    by_number = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    return list(by_number) if by_number else list(range(len(metadata.thing_classes)))


class BoxCOCOEvaluator(BoxEvaluator):
    """Computes COCO's average precision of boxes, and writes the detections to coco_instances_results.json.

    The objects are those of the registered data, whose defects were mended. The file has COCO's result format, with the
    ids of the data's own images and classes.

    Args:
        dataset_name: registered data. Without annotations the evaluator only writes the file.
        output_dir: folder of the file.
        api: what computes the numbers, a name in `APIS`. The numbers are the same.
    """

    def __init__(self, dataset_name: str, output_dir: Path, api: str):
        super().__init__(dataset_name)
        self.category_ids = category_ids(self.metadata)
        self.file = output_dir / "coco_instances_results.json"
        self.api = api

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        """Writes the file and computes the metrics.

        Returns:
            {"bbox": {"AP", "AP50", …, "AR100", …, "AP-CLASS", …}} in %. A figure is NaN if no object counts for it; all
            are 0 if there is no detection. {} for data without annotations.
        """
        detections = overlaps.detections
        write_text(results_text(detections, self.category_ids), self.file)
        if not self.metadata.annotated:
            return {}
        if not len(detections.scores):
            return {"bbox": dict.fromkeys([*_STATS, *(f"AP-{n}" for n in self.classes)], 0.0)}
        if self.api == "numpy":
            return {"bbox": self._by_name(*coco_numbers(overlaps, len(self.classes)))}
        truth = COCOTruth.of(self.metadata.name)
        images = detections.of_images(range(1, len(detections.images) + 1)).tolist()
        kinds = (self.category_ids[kind] for kind in detections.classes.tolist())
        corners = np.hstack([detections.boxes[:, :2], detections.boxes[:, :2] + detections.boxes[:, 2:]])
        results = coco_results(images, kinds, corners, detections.scores)
        return {"bbox": self._by_name(*coco_stats(truth.content, results, self.api))}

    def _by_name(self, stats: np.ndarray, precision: np.ndarray) -> dict[str, float]:
        """Figures by name, in %, from the two values that `coco_stats` returns."""
        values = dict(zip(_STATS, map(float, stats), strict=True))
        for i, name in enumerate(self.classes):
            of_class = precision[:, :, i]
            counted = of_class[of_class > -1]
            values[f"AP-{name}"] = float(counted.mean()) if counted.size else -1
        return {k: 100 * v if v >= 0 else float("nan") for k, v in values.items()}


def results_text(detections: DatasetDetections, category_ids: Sequence[int]) -> str:
    """The detections of a data set as the text of a JSON file in COCO's result format.

    Args:
        detections: the detections.
        category_ids: the id that each class gets (K,).
    """
    images = np.repeat([json.dumps(image) for image in detections.images], np.diff(detections.starts)).tolist()
    kinds = np.asarray(category_ids)[detections.classes].tolist()
    rows = zip(images, kinds, *detections.boxes.T.tolist(), detections.scores.tolist(), strict=True)
    entries = (
        f'{{"image_id": {image}, "category_id": {kind}, "bbox": [{x!r}, {y!r}, {w!r}, {h!r}], "score": {score!r}}}'
        for image, kind, x, y, w, h, score in rows
    )
    return f"[{', '.join(entries)}]\n"


class ProposalEvaluator(DatasetEvaluator):
    """Computes the recall of an RPN's proposals, as detectron2 does: the mean over IoU .5 to .95.

    Args:
        dataset_name: registered data.
    """

    def __init__(self, dataset_name: str):
        self.annotated = MetadataCatalog.get(dataset_name).annotated
        self.truth = COCOTruth.of(dataset_name)

    def reset(self) -> None:
        self._outputs: list[dict] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for entry, output in zip(inputs, outputs, strict=True):
            proposals = output["proposals"].to("cpu")
            self._outputs.append({"image_id": self.truth.numbers[entry["image_id"]], "proposals": proposals})

    def evaluate(self) -> dict | None:
        """Computes the recall of the best 100 and of the best 1000 proposals of each image.

        Returns:
            {"box_proposals": {"AR@100", "ARs@100", …, "AR@1000", …}} in %, where s, m and l stand for small, medium and
            large objects. {} for data without annotations; None in other processes than the main process.
        """
        gathered = comm.gather(self._outputs)
        if not comm.is_main_process():
            return None
        if not self.annotated:
            return {}
        predictions = [*itertools.chain.from_iterable(gathered)]
        truth = coco_object(self.truth.content)
        recall = {}
        for limit, (area, suffix) in itertools.product((100, 1000), _AREAS.items()):
            stats = _evaluate_box_proposals(predictions, truth, area=area, limit=limit)
            recall[f"AR{suffix}@{limit}"] = 100 * float(stats["ar"])
        return {"box_proposals": recall}


def coco_stats(truth: dict, results: list[dict], api: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Computes the 12 numbers of COCO's evaluation of boxes, of objects and detections in COCO's formats.

    Args:
        truth: the objects, as the content of a COCO annotation file.
        results: the detections, in COCO's result format.
        api: what computes the numbers, a name in `APIS`.

    Returns:
        the 12 numbers of COCOeval.stats, (12,), from 0 to 1, or -1 if no object counts for a number; and the precision
        of objects of all areas at 100 detections, by (IoU, recall, class), -1 for a class without objects. Without
        detections the numbers are 0 and the precision is None.
    """
    if not results:
        return np.zeros(12), None
    if api == "numpy":
        return coco_numbers(overlaps_of_files(truth, results), len(truth["categories"]))
    from pycocotools.cocoeval import COCOeval

    coco = coco_object(truth)
    evaluation = COCOeval(coco, _quietly(coco.loadRes, results), "bbox")
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        _quietly(step)
    return np.asarray(evaluation.stats), np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def coco_object(content: dict):
    """pycocotools' COCO object of the content of an annotation file."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    _quietly(coco.createIndex)
    return coco


def _quietly(function, *args):
    """Calls `function`, returns its result, and sends the printed lines to the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = function(*args)
    for line in itertools.filterfalse(str.isspace, printed.getvalue().splitlines(keepends=True)):
        logging.getLogger("detectron2").info("%s", line.rstrip())
    return result
