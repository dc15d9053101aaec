"""COCO's average precision, by pycocotools or the faster faster-coco-eval, from dataset dicts."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from pathlib import Path

from backbones.whole_files import write_json
from detection.data.coco import coco_truth

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import _evaluate_box_proposals, instances_to_coco_json
from detectron2.structures import Instances
from detectron2.utils import comm

APIS = ("faster_coco_eval", "pycocotools")

# detectron2's names of COCO's size classes, and what they add to the name of a recall.
_AREAS = {"all": "", "small": "s", "medium": "m", "large": "l"}
# The order of COCOeval.stats.
_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class _GatheredOutputs(DatasetEvaluator):
    """Gathers one field of a model's outputs, with the ids of the images, over all processes.

    Args:
        dataset_name: registered data.
    """

    field: str

    def __init__(self, dataset_name: str):
        self.metadata = MetadataCatalog.get(dataset_name)
        records = DatasetCatalog.get(dataset_name)
        by_number = getattr(self.metadata, "thing_dataset_id_to_contiguous_id", None)
        self.category_ids = list(by_number) if by_number else list(range(len(self.metadata.thing_classes)))
        # VOC's and YOLO's image ids are strings, which faster-coco-eval does not take.
        self.numbers = {record["image_id"]: i for i, record in enumerate(records, 1)}
        self.truth = coco_truth(records, self.metadata.thing_classes, self.category_ids, self.numbers)

    def reset(self) -> None:
        self._outputs: list[tuple[object, Instances]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for entry, output in zip(inputs, outputs, strict=True):
            self._outputs.append((entry["image_id"], output[self.field].to("cpu")))

    def gather(self) -> list[tuple[object, Instances]] | None:
        """(image id, Instances) of all images, in the main process; else None."""
        gathered = comm.gather(self._outputs)
        return list(itertools.chain.from_iterable(gathered)) if comm.is_main_process() else None


class BoxCOCOEvaluator(_GatheredOutputs):
    """COCO's average precision of boxes, against the records as they were read and mended.

    Writes the detections in COCO's result format, coco_instances_results.json, with the data's own ids.

    Args:
        dataset_name: registered data. Without annotations, writing the file is all that the evaluator does.
        output_dir: folder of the file.
        api: a name in `APIS`.
    """

    field = "instances"

    def __init__(self, dataset_name: str, output_dir: Path, api: str):
        super().__init__(dataset_name)
        self.file = output_dir / "coco_instances_results.json"
        self.api = api

    def evaluate(self) -> dict | None:
        """{"bbox": {"AP", "AP50", …, "AR100", …, "AP-CLASS", …}} in %, NaN without objects, in the main process."""
        outputs = self.gather()
        if outputs is None:
            return None
        detections = [d for image_id, found in outputs for d in instances_to_coco_json(found, image_id)]
        for detection in detections:
            detection["category_id"] = self.category_ids[detection["category_id"]]
        write_json(detections, self.file)
        if not self.metadata.annotated:
            return {}
        numbered = [d | {"image_id": self.numbers[d["image_id"]]} for d in detections]
        return {"bbox": self._as_results(*coco_stats(self.truth, numbered, self.api))}

    def _as_results(self, stats: np.ndarray, precision: np.ndarray | None) -> dict[str, float]:
        names = self.metadata.thing_classes
        if precision is None:  # there was not a single detection
            return dict.fromkeys([*_STATS, *(f"AP-{n}" for n in names)], 0.0)
        values = dict(zip(_STATS, map(float, stats), strict=True))
        for i, name in enumerate(names):
            of_class = precision[:, :, i, 0, -1]
            values[f"AP-{name}"] = float(of_class[of_class > -1].mean()) if (of_class > -1).any() else -1
        return {k: 100 * v if v >= 0 else float("nan") for k, v in values.items()}


class ProposalEvaluator(_GatheredOutputs):
    """Recall of proposals, as detectron2 computes it: averaged over IoU .5 to .95, of 100 and of 1000 proposals."""

    field = "proposals"

    def evaluate(self) -> dict | None:
        """{"box_proposals": {"AR@100", "ARs@100", …, "AR@1000", …}} in %, in the main process."""
        outputs = self.gather()
        if outputs is None:
            return None
        if not self.metadata.annotated:
            return {}
        predictions = [{"image_id": self.numbers[image_id], "proposals": found} for image_id, found in outputs]
        truth = _quietly(_coco("pycocotools"), self.truth)
        recall = {}
        for limit, (area, suffix) in itertools.product((100, 1000), _AREAS.items()):
            stats = _evaluate_box_proposals(predictions, truth, area=area, limit=limit)
            recall[f"AR{suffix}@{limit}"] = 100 * float(stats["ar"])
        return {"box_proposals": recall}


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
