"""Compares the AP on large images: seen as a whole, in residet's tiles, and in the tiles of the sahi library.

The large images are mosaics of a data set's images. A tile is as large as one of the data set's images, so that in a
tile the detector sees objects at the size that it was trained on. For the row of sahi, `pip install sahi` first.

benchmarks/tiles.py --data BCCD:test --config-file RUN/config.yaml --weights RUN/model_final.pth
"""

import argparse
import statistics
import time

from detection.checkpoint import load_detector
from detection.config import default_config
from detection.data.layouts.coco import coco_truth
from detection.evaluation.coco import coco_stats
from detection.inference.tiles import TiledDetector
from detection.prepare import prepare
from residet.config import merge_config

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from detectron2.data.detection_utils import read_image
from detectron2.modeling import build_model

try:
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction
except ImportError:
    DetectionModel = object
    get_sliced_prediction = None


class Peer(DetectionModel):
    """A detector as sahi wants one. The methods override sahi's."""

    def set_model(self, model):
        self.model = model
        self.category_mapping = {}

    def perform_inference(self, image):
        self._original_predictions = [detect(self.model, image)]

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list, full_shape_list=None):
        (detections,), shift = self._original_predictions, np.ravel(shift_amount_list).tolist()
        shape = None if full_shape_list is None else np.ravel(full_shape_list).tolist()
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box, category_id=int(kind), score=float(score), shift_amount=shift, full_shape=shape
                )
                for box, score, kind in zip(*detections, strict=True)
            ]
        ]


def detect(detector, image):
    """Boxes, scores and classes of the detections of a TiledDetector in an image (H, W, 3), as lists."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    detections = detector([{"image": pixels}])[0]["instances"]
    return detections.pred_boxes.tensor.tolist(), detections.scores.tolist(), detections.pred_classes.tolist()


def mosaics(records, side, image_format):
    """Joins images to larger ones, `side` x `side` each: yields each image (side * H, side * W, 3) and its record.

    Only images of the size of the first image are used.

    Args:
        records: dataset dicts.
        side: number of images on each side of a mosaic.
        image_format: "RGB" or "BGR".
    """
    size = records[0]["height"], records[0]["width"]
    same = [r for r in records if (r["height"], r["width"]) == size]
    for number, start in enumerate(range(0, len(same) - side**2 + 1, side**2), 1):
        rows, annotations = [], []
        for row in range(side):
            row_records = same[start + row * side :][:side]
            rows.append(np.concatenate([read_image(r["file_name"], image_format) for r in row_records], axis=1))
            for column, record in enumerate(row_records):
                x, y = column * size[1], row * size[0]
                for a in record["annotations"]:
                    annotations.append(a | {"bbox": [v + d for v, d in zip(a["bbox"], (x, y, x, y), strict=True)]})
        image = np.concatenate(rows)
        name = {"file_name": f"mosaic {number}", "image_id": number, "height": len(image), "width": image.shape[1]}
        yield image, name | {"annotations": annotations}


@torch.no_grad()
def main():
    """Prints AP, AP50 and the median seconds per image of each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, metavar="DIR:SPLIT|FILE.json[:IMAGES]", help="test data with annotations"
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of the detector")
    parser.add_argument("--weights", required=True, metavar="FILE", help="checkpoint of the detector")
    parser.add_argument("--side", type=int, default=2, metavar="N", help="images on each side of a mosaic (default 2)")
    args = parser.parse_args()
    cfg = default_config()
    merge_config(cfg, args.config_file, ["MODEL.WEIGHTS", args.weights, "MODEL.DEVICE", "cpu"])
    cfg.DATASETS.TEST = (args.data,)
    plan = prepare(cfg, eval_only=True)
    model = build_model(cfg).eval()
    load_detector(cfg, model, plan.weights, for_training=False)
    large = list(mosaics(DatasetCatalog.get(args.data), args.side, cfg.INPUT.FORMAT))
    records = [record for _, record in large]
    tile = records[0]["height"] // args.side
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    nms = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST
    whole, tiled = (TiledDetector(model, size, 0.2, resize, nms) for size in (10**6, tile))

    def detect_by_sahi(image):
        peer = Peer(model=whole, confidence_threshold=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
        objects = get_sliced_prediction(image, peer, tile, tile, verbose=0).object_prediction_list
        return [p.bbox.to_xyxy() for p in objects], [p.score.value for p in objects], [p.category.id for p in objects]

    ways = {"whole": lambda image: detect(whole, image), "tiles": lambda image: detect(tiled, image)}
    ways |= {"sahi": detect_by_sahi} if get_sliced_prediction else {}
    detections, seconds = {way: [] for way in ways}, {way: [] for way in ways}
    for image, record in large:  # all ways take the same image in turn, so that their times compare
        for way, function in ways.items():
            start = time.perf_counter()
            for (x0, y0, x1, y1), score, kind in zip(*function(image), strict=True):
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": score, "category_id": kind}
                detections[way].append(box | {"image_id": record["image_id"]})
            seconds[way].append(time.perf_counter() - start)
    truth = coco_truth(records, cfg.DATASETS.CLASSES)
    print(f"{len(large)} images of {records[0]['width']}x{records[0]['height']}, tiles of {tile}")
    for way in ways:
        stats, _ = coco_stats(truth, detections[way], "numpy")
        print(f"{way:6} AP {100 * stats[0]:5.1f}  AP50 {100 * stats[1]:5.1f}  {statistics.median(seconds[way]):.2f} s")


if __name__ == "__main__":
    main()
