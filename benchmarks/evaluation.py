"""How long does an evaluation take, from the detector's outputs to the numbers, against pycocotools?

Two jobs: COCO's 12 numbers alone, and all that a run evaluates by default (COCO, VOC, TIDE's errors, confusion matrix,
curves, all files), for which pycocotools still computes COCO's numbers alone.

benchmarks/evaluation.py
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

from detection.trainer import DetectionTrainer

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from harness import Job, compare, write
from made_up import registered
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def ours(cfg, outputs):
    """COCO's 12 numbers in %, with all that the config's evaluators compute and write beside."""
    (name,) = cfg.DATASETS.TEST
    evaluator = DetectionTrainer.build_evaluator(cfg, name)
    evaluator.reset()
    evaluator.process(DatasetCatalog.get(name), outputs)
    figures = evaluator.evaluate()["bbox"]
    return np.array([figures[n] for n in NAMES])


def theirs(cfg, truth, outputs):
    """COCO's 12 numbers in %, as detectron2 computes them with pycocotools; nothing is written."""
    results = []
    for record, output in zip(DatasetCatalog.get(cfg.DATASETS.TEST[0]), outputs, strict=True):
        results += instances_to_coco_json(output["instances"], record["image_id"])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return 100 * evaluation.stats


def agree(a, b):
    """The 12 numbers may differ where detectron2 rounds a box to single precision."""
    np.testing.assert_allclose(a, b, atol=0.001)


def measured(images, evaluators, least, pairs):
    """The figures of one job.

    Args:
        images: number of images, with 7 objects and 100 detections each.
        evaluators: TEST.EVALUATORS.
        least: the ratio that we want to reach.
        pairs: number of measurements of each way.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg, file, outputs = registered(Path(folder), images)
        cfg.TEST.EVALUATORS = evaluators
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(file)
        name = f"{'everything' if len(evaluators) > 1 else 'COCO AP'}, {images} images, {100 * images} detections"
        job = Job(
            name,
            lambda: ours(cfg, outputs),
            lambda: theirs(cfg, truth, outputs),
            "pycocotools, COCO AP alone",
            agree,
            "12 numbers within 0.001 points",
            least,
            pairs,
        )
        return compare(job)


def main():
    """Measures both jobs and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    jobs = ((5000, ("coco",), 7, 1), (1500, ("coco", "voc", "errors"), 3, 3))
    write(__doc__.splitlines()[0], [measured(*job) for job in jobs])


if __name__ == "__main__":
    main()
