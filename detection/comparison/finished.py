"""Reads what a detector's run has left in its folder: config, figures, training curve, detections, speed."""

from __future__ import annotations

import functools
import json
import math
import statistics
from pathlib import Path

from backbones.errors import InputError
from backbones.interface import NetworkSpec
from backbones.registry import spec_of_builder
from backbones.whole_files import json_or_none
from detection.config import default_config
from detection.data.catalog import slug
from residet.config import merge_config
from residet.fingerprint import read_run
from residet.metrics import read_metrics

from detectron2.config import CfgNode

NOT_KNOWN = float("nan")


class FinishedRun:
    """A run of `tools/train_net.py` that has ended, trained or only evaluated.

    Args:
        folder: OUTPUT_DIR of the run.

    Raises:
        InputError: the folder holds no finished run, or a damaged one.

    Attributes:
        folder: the argument.
        cfg: the config of the run.
        results: the figures on the first test set by name, in %, as `results.json` has them.
        about: the content of run.json (residet.fingerprint); None for a run that has left none.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        per_set = json_or_none(self.folder / "results.json")
        if not isinstance(per_set, dict) or not per_set or not all(isinstance(r, dict) for r in per_set.values()):
            raise InputError(f"{folder}: holds no finished run of a detector; name the OUTPUT_DIR of one")
        self.dataset, self.results = next(iter(per_set.items()))
        self.cfg: CfgNode = default_config()
        merge_config(self.cfg, str(self.folder / "config.yaml"), [])
        self.about = read_run(self.folder)

    @functools.cached_property
    def spec(self) -> NetworkSpec:
        """The network."""
        return spec_of_builder(self.cfg.MODEL.BACKBONE.NAME)

    @property
    def head(self) -> str:
        """The kind of head: "FPN", "C4", "RetinaNet", or the name of the RoI heads without "ROIHeads"."""
        if "_fpn_" in self.cfg.MODEL.BACKBONE.NAME:
            return "RetinaNet" if self.cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else "FPN"
        name = self.cfg.MODEL.ROI_HEADS.NAME
        return {"ArchRes5ROIHeads": "C4", "Res5ROIHeads": "C4"}.get(name, name.removesuffix("ROIHeads"))

    @property
    def start(self) -> str:
        """ "pretrained" or "random"."""
        return "pretrained" if self.cfg.MODEL.WEIGHTS else "random"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.cfg.DATASETS.CLASSES)

    @property
    def key(self) -> str:
        """A text that is the same for runs that differ in their seed alone; without run.json, the folder of the run."""
        if not self.about:
            return str(self.folder)
        known_by = self.about["fingerprint"]
        config = {k: v for k, v in known_by["config"].items() if k != "SEED"}
        files = [known_by["weights"].get("sha256"), *(d.get("sha256") for d in known_by["data"].values())]
        return json.dumps([config, files, known_by["code"]], sort_keys=True)

    def figure(self, name: str) -> float:
        """A figure of results.json; NaN where the run has no such figure."""
        value = self.results.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NOT_KNOWN

    @functools.cached_property
    def part(self) -> Path:
        """The folder of the run, or of its last phase, where curve and detections lie."""
        return self.folder / self.cfg.PHASES[-1]["name"] if self.cfg.PHASES else self.folder

    @property
    def inference(self) -> Path:
        """The folder of what the evaluators have written about the first test set."""
        return self.part / "inference" / slug(self.dataset)

    @functools.cached_property
    def curve(self) -> list[dict]:
        """The metrics of each iteration in metrics.json, in order; empty if the run was not a training."""
        return list(read_metrics(self.part / "metrics.json").values())

    @property
    def precisions(self) -> list[tuple[int, float]]:
        """[(iterations done, AP in %)] of each evaluation during the training, in order."""
        return [(line["iteration"] + 1, line["bbox/AP"]) for line in self.curve if "bbox/AP" in line]

    @property
    def training_seconds(self) -> float:
        """Median seconds of training for an image; NaN where not known."""
        times = [line["time"] for line in self.curve if isinstance(line.get("time"), float)]
        return statistics.median(times) / self.cfg.SOLVER.IMS_PER_BATCH if times else NOT_KNOWN

    @functools.cached_property
    def speed(self) -> dict:
        """What `detection.inference.speed` has measured; {} for a run that measured nothing."""
        content = json_or_none(self.part / "inference" / "speed.json")
        return content if isinstance(content, dict) else {}

    @property
    def pretraining_error(self) -> float:
        """The top-1 error of the checkpoint that the run started from, in %, if results.json beside it says so."""
        if not self.cfg.MODEL.WEIGHTS:
            return NOT_KNOWN
        content = json_or_none(Path(self.cfg.MODEL.WEIGHTS).with_name("results.json"))
        error = content.get("top1_error") if isinstance(content, dict) else None
        return float(error) if isinstance(error, int | float) else NOT_KNOWN

    @functools.cached_property
    def errors(self) -> dict:
        """The content of errors.json: TIDE's errors and the confusion matrix; {} if the file is missing."""
        content = json_or_none(self.inference / "errors.json")
        return content if isinstance(content, dict) else {}

    @functools.cached_property
    def detections(self) -> list[dict] | None:
        """All detections in COCO's result format, with the data's own ids; None if the file is missing."""
        content = json_or_none(self.inference / "coco_instances_results.json")
        return content if isinstance(content, list) else None


def is_known(value: float) -> bool:
    """Whether a figure is there."""
    return not math.isnan(value)
