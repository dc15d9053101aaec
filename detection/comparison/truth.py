"""The test data of finished runs, read again, and the runs' detections matched with them."""

from __future__ import annotations

from dataclasses import dataclass

from backbones.errors import InputError
from detection.comparison.finished import FinishedRun
from detection.data.catalog import resolve_datasets
from detection.data.digest import digest_of_data
from detection.data.statistics import describe
from detection.evaluation.bootstrap import Matched, match
from detection.evaluation.coco import COCOTruth

from detectron2.data import DatasetCatalog, MetadataCatalog


@dataclass(frozen=True)
class EvaluatedData:
    """The first test set of a run.

    Attributes:
        name: name of the data.
        digest: what the content of the data is known by.
        objects: the objects as COCO's evaluation takes them, and the ids.
        records: the dataset dicts.
        classes: names of the classes.
        statistics: what `detection.data.statistics.describe` counts.
    """

    name: str
    digest: str
    objects: COCOTruth
    records: list[dict]
    classes: list[str]
    statistics: dict

    def detections(self, run: FinishedRun) -> list[dict]:
        """A run's detections in COCO's result format, with the ids of `objects.content`.

        Raises:
            InputError: the run has left no detections, or detections of other images or classes.
        """
        if run.detections is None:
            raise InputError(f"{run.inference}: has no readable coco_instances_results.json")
        numbers, ids = self.objects.numbers, set(self.objects.category_ids)
        try:
            detections = [{**d, "image_id": numbers[d["image_id"]]} for d in run.detections]
            if all(d["category_id"] in ids and len(d["bbox"]) == 4 and "score" in d for d in detections):
                return detections
        except (KeyError, TypeError):
            pass
        raise InputError(f"{run.inference}: its detections are not of {self.name}")

    def match(self, run: FinishedRun) -> Matched:
        """A run's detections, matched. Raises InputError as `detections`."""
        return match(self.objects.content, self.detections(run))


def read_test_data(run: FinishedRun) -> EvaluatedData:
    """Reads a run's first test set.

    Raises:
        InputError: the data are gone, have no annotations, or are not those that the run was tested on.
    """
    cfg = run.cfg.clone()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (run.dataset,)
    resolve_datasets(cfg)
    if not MetadataCatalog.get(run.dataset).annotated:
        raise InputError(f"{run.dataset}: has no annotations")
    digest = digest_of_data([run.dataset])
    recorded = run.about["fingerprint"]["data"].get("DATASETS.TEST", {}) if run.about else {}
    if len(run.cfg.DATASETS.TEST) == 1 and recorded.get("sha256", digest) != digest:
        raise InputError(f"{run.dataset}: has changed since {run.folder} was tested on it; evaluate the run again")
    records, classes = DatasetCatalog.get(run.dataset), MetadataCatalog.get(run.dataset).thing_classes
    return EvaluatedData(run.dataset, digest, COCOTruth.of(run.dataset), records, classes, describe(run.dataset))
