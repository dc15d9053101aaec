"""AP on large images: seen whole, in our tiles, and in tiles of the sahi library with its own joining.

The large images are mosaics of a data set's, on each side so many; one tile shows as much as one image did, so that a
detector trained on the images sees objects in tiles at the size that it knows. `pip install sahi` for its column.

benchmarks/tiles.py --data BCCD:test --config-file RUN/config.yaml --weights RUN/model_final.pth
"""

import argparse
import statistics
import time

from detection.checkpoint import load_detector
from detection.config import default_config
from detection.data.coco import coco_truth
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
    """A detectron2 model as sahi takes one."""

    def set_model(self, model):
        self.model = model
        self.category_mapping = {}

    def perform_inference(self, image):
        self._original_predictions = [detect(self.model, image)]

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list, full_shape_list=None):
        (found,), shift = self._original_predictions, np.ravel(shift_amount_list).tolist()
        shape = None if full_shape_list is None else np.ravel(full_shape_list).tolist()
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=box, category_id=int(kind), score=float(score), shift_amount=shift, full_shape=shape
                )
                for box, score, kind in zip(*found, strict=True)
            ]
        ]


def detect(detector, image):
    """Boxes, scores and classes of what a TiledDetector finds in an image (H, W, 3)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    found = detector([{"image": pixels}])[0]["instances"]
    return found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist()


def mosaics(records, side, image_format):
    """Images (side * H, side * W, 3), each with its record: `side` x `side` images of one size joined."""
    size = records[0]["height"], records[0]["width"]
    same = [r for r in records if (r["height"], r["width"]) == size]
    for number, start in enumerate(range(0, len(same) - side**2 + 1, side**2), 1):
        rows, annotations = [], []
        for row in range(side):
            of_row = same[start + row * side :][:side]
            rows.append(np.concatenate([read_image(r["file_name"], image_format) for r in of_row], axis=1))
            for column, record in enumerate(of_row):
                x, y = column * size[1], row * size[0]
                for a in record["annotations"]:
                    annotations.append(a | {"bbox": [v + d for v, d in zip(a["bbox"], (x, y, x, y), strict=True)]})
        image = np.concatenate(rows)
        name = {"file_name": f"mosaic {number}", "image_id": number, "height": len(image), "width": image.shape[1]}
        yield image, name | {"annotations": annotations}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="DIR:SPLIT|FILE.json[:IMAGES], with truth")
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--side", type=int, default=2, help="images on each side of a mosaic")
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

    def of_sahi(image):
        peer = Peer(model=whole, confidence_threshold=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
        found = get_sliced_prediction(image, peer, tile, tile, verbose=0).object_prediction_list
        return [p.bbox.to_xyxy() for p in found], [p.score.value for p in found], [p.category.id for p in found]

    ways = {"whole": lambda image: detect(whole, image), "tiles": lambda image: detect(tiled, image)}
    ways |= {"sahi": of_sahi} if get_sliced_prediction else {}
    found, seconds = {way: [] for way in ways}, {way: [] for way in ways}
    for image, record in large:  # each way on the same image in turn
        for way, function in ways.items():
            start = time.perf_counter()
            for (x0, y0, x1, y1), score, kind in zip(*function(image), strict=True):
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": score, "category_id": kind}
                found[way].append(box | {"image_id": record["image_id"]})
            seconds[way].append(time.perf_counter() - start)
    truth = coco_truth(records, cfg.DATASETS.CLASSES)
    print(f"{len(large)} images of {records[0]['width']}x{records[0]['height']}, tiles of {tile}")
    for way in ways:
        stats, _ = coco_stats(truth, found[way], "faster_coco_eval")
        print(f"{way:6} AP {100 * stats[0]:5.1f}  AP50 {100 * stats[1]:5.1f}  {statistics.median(seconds[way]):.2f} s")


if __name__ == "__main__":
    main()
