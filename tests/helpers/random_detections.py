"""Made-up objects and detections of every quality, the same on every machine: for evaluators and their references."""

from detection.evaluation.overlaps import DatasetDetections, DatasetObjects, Overlaps

import numpy as np

CLASSES = ("a", "b", "c")
SIZE = 400


def random_images(count=20, seed=0, crowds=0.15):
    """For each image boxes, scores and classes of detections; boxes and classes of objects, and whether to ignore them.

    Scores differ all, every class has objects, and no image has more than 100 detections.
    """
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        n = int(rng.integers(1, 7))
        corner, side = rng.uniform(0, 300, (n, 2)), rng.uniform(20, 100, (n, 2))
        objects = np.round(np.concatenate([corner, corner + side], axis=1), 1)
        kinds = rng.integers(0, len(CLASSES), n)
        ignored = rng.random(n) < crowds
        near = rng.integers(0, n, 3 * n)
        shift = rng.normal(0, 1, (3 * n, 4)) * rng.choice([1, 6, 25], (3 * n, 1))
        far = rng.uniform(0, 300, (4, 2))
        boxes = np.concatenate(
            [objects[near] + shift, np.concatenate([far, far + rng.uniform(20, 90, (4, 2))], axis=1)]
        )
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 5)
        found = np.concatenate([kinds[near], rng.integers(0, len(CLASSES), 4)])
        wrong = rng.random(len(found)) < 0.2
        found[wrong] = rng.integers(0, len(CLASSES), wrong.sum())
        images.append([np.round(boxes, 1), None, found, objects, kinds, ignored])
    scores = rng.permutation(sum(len(i[0]) for i in images)) + 1
    for image in images:
        image[1], scores = scores[: len(image[0])] / 10_000, scores[len(image[0]) :]
    return images


def as_coco(images):
    """The content of an annotation file, and detections in COCO's result format."""
    truth = {"info": {}, "images": [], "annotations": [], "categories": []}
    truth["categories"] = [{"id": 10 * k, "name": name} for k, name in enumerate(CLASSES, 1)]
    found = []

    def xywh(b):
        return [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]

    for i, (boxes, scores, kinds, objects, object_kinds, ignored) in enumerate(images, 1):
        truth["images"].append({"id": 7 * i, "file_name": f"{i}.jpg", "width": SIZE, "height": SIZE})
        for box, kind, crowd in zip(objects, object_kinds, ignored, strict=True):
            entry = {"id": len(truth["annotations"]) + 1, "image_id": 7 * i, "category_id": 10 * int(kind + 1)}
            entry |= {"bbox": xywh(box), "area": xywh(box)[2] * xywh(box)[3], "iscrowd": int(crowd)}
            truth["annotations"].append(entry)
        for box, score, kind in zip(boxes, scores, kinds, strict=True):
            entry = {"image_id": 7 * i, "category_id": 10 * int(kind + 1), "bbox": xywh(box), "score": float(score)}
            found.append(entry)
    return truth, found


def as_overlaps(images):
    """The overlaps of images as `random_images` gives them."""
    found = [(np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]), scores, kinds) for b, scores, kinds, *_ in images]
    annotations = [
        [{"bbox": b, "category_id": k, "iscrowd": i} for b, k, i in zip(*of_image, strict=True)]
        for _, _, _, *of_image in images
    ]
    return Overlaps.of(DatasetDetections.join(range(len(images)), found), DatasetObjects.join(annotations))
