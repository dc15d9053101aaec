"""COCO's average precision, by pycocotools or the faster faster-coco-eval, from dataset dicts."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from pathlib import Path

from detection.data.coco import coco_truth
from detection.evaluation.report import write_json

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator

APIS = ("faster_coco_eval", "pycocotools")

# COCOeval.stats, in its order.
_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class BoxCOCOEvaluator(COCOEvaluator):
    """detectron2's COCOEvaluator for boxes and proposals, against the records as they were read and mended.

    It writes the detections as COCO's result format, coco_instances_results.json, with the data's own ids. Results, in
    the main process: {"bbox": {"AP", …, "AR100", …, "AP-CLASS", …}} in %, or {"box_proposals": {"AR@100", …}}.

    Args:
        dataset_name: registered data; without annotations nothing but that file comes of it.
        output_dir: for the file.
        api: of `APIS`.
    """

    def __init__(self, dataset_name: str, output_dir: Path, api: str):
        self._metadata = MetadataCatalog.get(dataset_name)
        records = DatasetCatalog.get(dataset_name)
        of_class = getattr(self._metadata, "thing_dataset_id_to_contiguous_id", None)
        self._category_ids = list(of_class) if of_class else list(range(len(self._metadata.thing_classes)))
        # VOC's and YOLO's image ids are strings, which faster-coco-eval does not take.
        self._numbers = {record["image_id"]: i for i, record in enumerate(records, 1)}
        self._truth = coco_truth(records, self._metadata.thing_classes, self._category_ids, self._numbers)
        self._do_evaluation = self._metadata.annotated
        self._api = api
        self._results_file = output_dir / "coco_instances_results.json"
        self._distributed, self._output_dir, self._tasks = True, None, ("bbox",)
        self._logger, self._cpu_device = logging.getLogger("detectron2"), "cpu"

    def _eval_predictions(self, predictions, img_ids=None) -> None:
        found = [d for p in predictions for d in p["instances"]]
        for detection in found:
            detection["category_id"] = self._category_ids[detection["category_id"]]
        self._results_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(found, self._results_file)
        if self._do_evaluation:
            numbered = [d | {"image_id": self._numbers[d["image_id"]]} for d in found]
            stats, precision = coco_stats(self._truth, numbered, self._api)
            self._results["bbox"] = self._as_results(stats, precision)

    def _as_results(self, stats: np.ndarray, precision: np.ndarray | None) -> dict[str, float]:
        names = self._metadata.thing_classes
        if precision is None:  # not a single detection has found nothing
            return dict.fromkeys([*_STATS, *(f"AP-{n}" for n in names)], 0.0)
        values = dict(zip(_STATS, map(float, stats), strict=True))
        for i, name in enumerate(names):
            of_class = precision[:, :, i, 0, -1]
            values[f"AP-{name}"] = float(of_class[of_class > -1].mean()) if (of_class > -1).any() else -1
        return {k: 100 * v if v >= 0 else float("nan") for k, v in values.items()}

    def _eval_box_proposals(self, predictions) -> None:
        for prediction in predictions:
            prediction["image_id"] = self._numbers[prediction["image_id"]]
        if self._do_evaluation:
            self._coco_api = _quietly(_coco("pycocotools"), self._truth)
        super()._eval_box_proposals(predictions)


def coco_stats(truth: dict, found: list[dict], api: str) -> tuple[np.ndarray, np.ndarray | None]:
    """COCO's 12 numbers, from 0 to 1 and -1 where there is nothing to find.

    Args:
        truth: content of an annotation file.
        found: detections in COCO's result format.
        api: of `APIS`.

    Returns:
        the numbers, and precision by (IoU, recall, class, area, detections); None where `found` is empty.
    """
    if not found:
        return np.zeros(12), None
    COCO, COCOeval = _coco(api), _coco_eval(api)
    coco = _quietly(COCO, truth)
    evaluation = COCOeval(coco, _quietly(coco.loadRes, found), "bbox")
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        _quietly(step)
    return np.asarray(evaluation.stats[:12]), np.asarray(evaluation.eval["precision"])


def _coco(api: str):
    if api == "pycocotools":
        from pycocotools.coco import COCO

        def of_dict(content: dict) -> COCO:
            coco = COCO()
            coco.dataset = content
            coco.createIndex()
            return coco

        return of_dict
    from faster_coco_eval import COCO

    return COCO


def _coco_eval(api: str):
    if api == "pycocotools":
        from pycocotools.cocoeval import COCOeval

        return COCOeval
    from faster_coco_eval import COCOeval_faster

    return COCOeval_faster


def _quietly(function, *args):
    """The function's result; what it prints goes to the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = function(*args)
    for line in itertools.filterfalse(str.isspace, printed.getvalue().splitlines(keepends=True)):
        logging.getLogger("detectron2").info("%s", line.rstrip())
    return result
