"""How long does a Predictor take for an image, with each of its backends, against detectron2's DefaultPredictor?

One image of 480 x 640, which the detector sees at that size, from pixels to boxes. Faster R-CNN on ResNet-50 with
three classes and random weights, with a feature pyramid and without (C4). The peer is detectron2's detector with these
weights. torch and the runtimes take all cores, and the ratio is of wall time: the runtimes' threads wait in loops,
which CPU time counts.

benchmarks/detector_inference.py
"""

import argparse
import functools
import sys
import tempfile
from pathlib import Path

from backbones.weights.files import save_checkpoint
from detection import Predictor
from detection.build import build_detector, model_config

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from harness import Job, compare, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from calibrate import make_norms_matter

SIDES = 480, 640
BACKENDS = "torch", "openvino", "onnxruntime"
CLASSES = "a", "b", "c"
# Kind of head -> detectron2's config, our network, the end of its builder's name, the ratio to reach, pairs of runs.
DETECTORS = {"FPN": ("R_50_FPN", "resnet50_caffe", "_fpn", 1.8, 7), "C4": ("R_50_C4", "resnet50_caffe", "", 1.5, 3)}


def peer_config(name):
    """detectron2's config of a detector, with what does not depend on weights from the internet."""
    cfg = model_zoo.get_config(f"COCO-Detection/faster_rcnn_{name}_1x.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", "", len(CLASSES)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.3  # random weights give each class about 0.25
    cfg.INPUT.MIN_SIZE_TEST = min(SIDES)
    return cfg


def options(cfg, backbone):
    """What our config must take over from detectron2's."""
    keys = ["MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.ROI_HEADS.SCORE_THRESH_TEST"]
    keys += ["INPUT.FORMAT", "INPUT.MIN_SIZE_TEST", "MODEL.RPN.PRE_NMS_TOPK_TEST", "MODEL.RPN.POST_NMS_TOPK_TEST"]
    values = [functools.reduce(getattr, key.split("."), cfg) for key in keys]
    pairs = [item for pair in zip(keys, values, strict=True) for item in pair]
    return [*pairs, "MODEL.BACKBONE.NAME", backbone, "MODEL.DEVICE", "cpu", "DATASETS.CLASSES", CLASSES]


def jobs(folder, kind):
    """The jobs of one detector: each backend against DefaultPredictor."""
    torch.manual_seed(0)
    name, arch, end, least, pairs = DETECTORS[kind]
    image = np.random.default_rng(0).integers(0, 256, (*SIDES, 3), np.uint8)
    cfg = peer_config(name)
    weights, checkpoint = folder / f"{kind}_peer.pth", folder / f"{kind}.pth"
    model = make_norms_matter(build_model(cfg), [{"image": torch.from_numpy(image).permute(2, 0, 1)}])
    torch.save({"model": model.state_dict()}, weights)
    model = build_detector(f"faster_rcnn_resnet50{end}.yaml", weights, options(cfg, f"build_{arch}{end}_backbone"))
    about = {"task": "detection", "arch": arch, "classes": CLASSES, "config": model_config(model.cfg)}
    pixels = {"mean": cfg.MODEL.PIXEL_MEAN, "std": cfg.MODEL.PIXEL_STD, "channel_order": cfg.INPUT.FORMAT}
    save_checkpoint({"model": model.state_dict(), **about, **pixels}, checkpoint)
    cfg.MODEL.WEIGHTS = str(weights)
    peer = DefaultPredictor(cfg)
    for backend in BACKENDS:
        predict = Predictor(checkpoint, backend=backend)
        yield Job(
            f"ResNet-50 {kind}, backend {backend}",
            lambda predict=predict: predict(image, "BGR"),
            lambda: peer(image)["instances"],
            f"detectron2's DefaultPredictor, {name}",
            agree,
            "boxes to 0.1 px, scores to 0.0001, but for one detection of fifty",
            least,
            pairs,
            clock="wall",
        )


def agree(ours, theirs):
    """Each detection has a partner, but for some that rounding moves over a threshold of NMS or the 1,000 regions."""
    boxes, scores = theirs.pred_boxes.tensor.numpy(), theirs.scores.numpy()
    apart = np.abs(ours.boxes[:, None] - boxes[None]).max(2)
    same = (apart < 0.1) & (np.abs(ours.scores[:, None] - scores[None]) < 1e-4)
    same &= ours.class_ids[:, None] == theirs.pred_classes.numpy()[None]
    assert len(ours) == len(boxes) >= 20 and same.any(1).mean() > 0.98, (len(ours), len(boxes), same.any(1).mean())


def main():
    """Measures both detectors and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(job) for kind in DETECTORS for job in jobs(Path(folder), kind)]
    write(__doc__.splitlines()[0], rows)


if __name__ == "__main__":
    main()
