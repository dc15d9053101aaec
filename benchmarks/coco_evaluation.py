"""Measures how much faster the library faster-coco-eval computes COCO's AP than pycocotools, on random detections.

benchmarks/coco_evaluation.py --images 5000
"""

import argparse
import statistics
import time

import detection  # noqa: F401
from detection.evaluation.coco import APIS, coco_stats

import numpy as np


def made_up(images, rng, classes=80, objects=7, detections=100):
    """Random annotations and detections, by default with as many classes, objects and detections as in COCO's val.

    Args:
        images: number of images.
        rng: numpy's random number generator.
        classes: number of classes.
        objects: objects in each image.
        detections: detections in each image.

    Returns:
        the content of an annotation file, and a list of detections, both in COCO's format.
    """
    truth = {"info": {}, "images": [], "annotations": [], "categories": [{"id": k} for k in range(classes)]}
    results = []
    for i in range(images):
        truth["images"].append({"id": i})
        boxes = rng.uniform(10, 300, (objects, 4))
        kinds = rng.integers(0, classes, objects)
        for box, kind in zip(boxes.tolist(), kinds.tolist(), strict=True):
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": i, "category_id": kind, "bbox": box}
            truth["annotations"].append(annotation | {"area": box[2] * box[3], "iscrowd": 0})
        near = rng.integers(0, objects, detections)
        moved = boxes[near] + rng.normal(0, 8, (detections, 4)).clip(-9, None)
        for box, kind, score in zip(moved.tolist(), kinds[near].tolist(), rng.random(detections).tolist(), strict=True):
            results.append({"image_id": i, "category_id": kind, "bbox": box, "score": score})
    return truth, results


def main():
    """Prints the median time of each library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="number of images (default 5000)")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="number of evaluations by each library (default 3)"
    )
    args = parser.parse_args()
    truth, results = made_up(args.images, np.random.default_rng(0))
    seconds = {api: [] for api in APIS}
    for _ in range(args.repeats):
        for api in APIS:
            start = time.perf_counter()
            coco_stats(truth, [dict(d) for d in results], api)
            seconds[api].append(time.perf_counter() - start)
    medians = {api: statistics.median(s) for api, s in seconds.items()}
    for api, median in medians.items():
        print(f"{api:18} {median:6.1f} s  {medians['pycocotools'] / median:.2f} x")


if __name__ == "__main__":
    main()
