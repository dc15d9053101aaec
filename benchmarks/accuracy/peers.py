"""Trains a detector with torchvision's reference loop, with detectron2's own trainer and with ours, and compares them.

All three train Faster R-CNN on resnet50 with a feature pyramid, with the same weights of the network, images, sizes,
iterations, batch, learning rate and schedule, in float32. Nothing is frozen, and BN learns. The detectors of
torchvision and detectron2 are their own, and each draws the values of its pyramid and heads itself. torchvision's loop
is that of its references/detection/engine.py; it gets the batches of our loader, as its own reads COCO only.

A finished run is not repeated: the same command goes on. The table has all runs that are in the folder --output.

benchmarks/accuracy/peers.py --data BCCD --weights output/cifar10/resnet50/model_final.pth --seeds 0 1 2
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.weights.export import export
from backbones.weights.load import feature_state
from backbones.weights.read import read_weights
from backbones.whole_files import json_or_none, write_json
from detection.config import default_config
from detection.data.layouts.sources import data_splits
from detection.evaluation.coco import BoxCOCOEvaluator
from detection.prepare import prepare
from detection.trainer import DetectionTrainer
from residet.config import merge_config
from residet.fingerprint import environment
from residet.metrics import read_metrics
from residet.progress import progress

import torch
from detectron2 import model_zoo
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tabulate import tabulate
from torch import nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FasterRCNN

ARCH = "resnet50"
FIGURES = ("AP", "AP50", "AP75", "seconds")
# The keys that detectron2's stock config takes from ours.
SHARED = ("SOLVER", "INPUT", "DATASETS", "DATALOADER", "OUTPUT_DIR", "SEED", "MODEL.DEVICE", "MODEL.PIXEL_MEAN")
SHARED += ("MODEL.PIXEL_STD", "MODEL.RESNETS.NORM", "MODEL.BACKBONE.FREEZE_AT", "MODEL.ROI_HEADS.NUM_CLASSES")


def plan_of(args, seed, folder):
    """The plan of our run, which registers the data."""
    cfg = default_config()
    size = args.size
    merge_config(cfg, f"faster_rcnn_{ARCH}_fpn", ["MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.RESNETS.NORM", "BN"])
    solver = {"IMS_PER_BATCH": args.batch, "BASE_LR": args.rate, "MAX_ITER": args.iterations}
    solver |= {"LR_SCHEDULER_NAME": "WarmupCosineLR", "WARMUP_ITERS": args.iterations // 10, "STEPS": ()}
    solver |= {"CLIP_GRADIENTS.ENABLED": True, "CLIP_GRADIENTS.CLIP_TYPE": "norm", "CHECKPOINT_PERIOD": 10**6}
    opts = [word for key, value in solver.items() for word in (f"SOLVER.{key}", value)]
    opts += ["INPUT.MIN_SIZE_TRAIN", (size,), "INPUT.MIN_SIZE_TEST", size, "DATALOADER.NUM_WORKERS", 0]
    opts += ["MODEL.WEIGHTS", args.weights, "MODEL.DEVICE", args.device, "OUTPUT_DIR", str(folder), "SEED", seed]
    opts += ["TEST.PICTURES", 0]
    merge_config(cfg, "", opts)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ((name,) for name in data_splits(args.data, ""))
    return prepare(cfg, eval_only=False)


def evaluator(cfg):
    """COCO's AP, which all three are measured by."""
    return BoxCOCOEvaluator(cfg.DATASETS.TEST[0], Path(cfg.OUTPUT_DIR, "inference"), "pycocotools")


def seconds_of(folder):
    """The median seconds of an iteration, as detectron2's hook has timed them."""
    return statistics.median(line["time"] for line in read_metrics(folder / "metrics.json").values() if "time" in line)


def ours(plan, folder):
    """Our trainer on our detector."""
    trainer = DetectionTrainer(plan)
    if not trainer.train():
        raise SystemExit("stopped")
    return trainer.model, trainer.evaluation.results["bbox"], seconds_of(folder)


class Detectron2Trainer(DefaultTrainer):
    """detectron2's own trainer. Its evaluator for data of the user's is a method that the user writes."""

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return evaluator(cfg)


def detectron2s(plan, folder):
    """detectron2's trainer on its stock R50-FPN."""
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    for key in SHARED:
        *groups, last = key.split(".")
        ours_now, theirs = plan.cfg, cfg
        for group in groups:
            ours_now, theirs = ours_now[group], theirs[group]
        theirs[last] = ours_now[last]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False  # the variant that the weights are of
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    export(plan.cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS, "detectron2", ARCH)
    trainer = Detectron2Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer.model, trainer._last_eval_results["bbox"], seconds_of(folder)


class TorchvisionDetector(nn.Module):
    """torchvision's Faster R-CNN, which takes and gives what detectron2's models do.

    Args:
        cfg: our config.
        state: parameters of the network, by torchvision's names.
    """

    def __init__(self, cfg, state):
        super().__init__()
        backbone = resnet_fpn_backbone(backbone_name=ARCH, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
        backbone.body.load_state_dict(state)
        size, rpn = cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.RPN
        self.detector = FasterRCNN(
            backbone,
            cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1,
            min_size=size,
            max_size=cfg.INPUT.MAX_SIZE_TEST,
            image_mean=[m / 255 for m in cfg.MODEL.PIXEL_MEAN],
            image_std=[s / 255 for s in cfg.MODEL.PIXEL_STD],
            rpn_pre_nms_top_n_train=rpn.PRE_NMS_TOPK_TRAIN,
            rpn_pre_nms_top_n_test=rpn.PRE_NMS_TOPK_TEST,
            rpn_post_nms_top_n_train=rpn.POST_NMS_TOPK_TRAIN,
            rpn_post_nms_top_n_test=rpn.POST_NMS_TOPK_TEST,
        )

    def forward(self, examples):
        """Model inputs of detectron2 -> {name: loss} in training, [{"instances": Instances}] in evaluation."""
        device = next(self.parameters()).device
        images = [example["image"].to(device) / 255 for example in examples]
        if self.training:
            objects = [example["instances"].to(device) for example in examples]
            return self.detector(images, [{"boxes": o.gt_boxes.tensor, "labels": o.gt_classes + 1} for o in objects])
        outputs = []
        for example, image, found in zip(examples, images, self.detector(images), strict=True):
            instances = Instances(tuple(image.shape[1:]), pred_boxes=Boxes(found["boxes"]), scores=found["scores"])
            instances.pred_classes = found["labels"] - 1
            outputs.append({"instances": detector_postprocess(instances, example["height"], example["width"])})
        return outputs


def torchvisions(plan, folder):
    """torchvision's loop on its own detector."""
    cfg = plan.cfg
    state = feature_state(get_spec(ARCH), read_weights(cfg.MODEL.WEIGHTS, ARCH))
    torch.manual_seed(cfg.SEED)
    model = TorchvisionDetector(cfg, state).to(cfg.MODEL.DEVICE).train()
    optimizer = DetectionTrainer.build_optimizer(cfg, model)
    scheduler = DetectionTrainer.build_lr_scheduler(cfg, optimizer)
    times = []
    with EventStorage():
        batches = iter(DetectionTrainer.build_train_loader(cfg))
        for _ in progress(range(cfg.SOLVER.MAX_ITER), desc="torchvision"):
            start = time.perf_counter()
            losses = sum(model(next(batches)).values())
            optimizer.zero_grad()
            losses.backward()
            optimizer.step()
            scheduler.step()
            times.append(time.perf_counter() - start)
    loader = DetectionTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
    results = inference_on_dataset(model, loader, evaluator(cfg))
    return model, results["bbox"], statistics.median(times)


PEERS = {"residet": ours, "detectron2": detectron2s, "torchvision": torchvisions}


def table(output):
    """The mean and the standard deviation over the seeds, of each peer and figure."""
    body = []
    for peer in PEERS:
        runs = [content for file in sorted(output.glob(f"{peer}_*/peer.json")) if (content := json_or_none(file))]
        if not runs:
            continue
        cells = []
        for figure in FIGURES:
            values = [run[figure] for run in runs]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.2f}{spread}")
        body.append([peer, len(runs), f"{runs[0]['parameters'] / 1e6:.2f}", *cells])
    return tabulate(body, ["", "seeds", "params M", *FIGURES[:3], "s/iteration"], "github", disable_numparse=True)


def main(argv=None):
    """Runs what is missing in --output, and prints the table after each run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR", help="data set, such as BCCD")
    parser.add_argument("--weights", required=True, metavar="FILE", help=f"classifier with {ARCH} to start from")
    parser.add_argument("--output", type=Path, default=Path("output/peers"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate after the warm-up")
    parser.add_argument("--size", type=int, default=320, help="short side of all images, in pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    asked = {k: v for k, v in vars(args).items() if k not in ("output", "seeds")}
    for seed in args.seeds:
        for peer, run in PEERS.items():
            folder = args.output / f"{peer}_{seed}"
            if before := json_or_none(folder / "peer.json"):
                if before["asked"] != asked:
                    parser.error(f"{folder}: holds a run with other arguments; name another --output")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.json").unlink(missing_ok=True)
            plan = plan_of(args, seed, folder)
            model, results, seconds = run(plan, folder)
            content = {name: float(results[name]) for name in FIGURES[:3]} | {"seconds": seconds}
            content |= {"parameters": sum(p.numel() for p in model.parameters())}
            write_json(content | {"asked": asked, "versions": environment()}, folder / "peer.json")
            print(table(args.output), flush=True)
    print(table(args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
