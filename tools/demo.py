"""The whole way on data made from nothing: pretrain, transfer into Faster R-CNN, compare with random weights.

tools/demo.py --output output/demo
"""

import argparse
import sys
import time
from pathlib import Path

import classification.config
import classification.prepare
import classification.trainer
import detection.config
import detection.prepare
import detection.trainer
from backbones.errors import InputError
from backbones.whole_files import write_json
from detection.data.synthetic import make_shapes
from detection.evaluation.report import table
from residet.config import merge_config
from residet.launch import exit_code, resolve_device, start_log

CONFIGS = Path(__file__).parents[1] / "configs" / "demo"
TRAIN_IMAGES, TEST_IMAGES = 800, 100


def pretrain(args, crops, output):
    cfg = classification.config.default_config()
    merge_config(cfg, str(CONFIGS / "pretrain_resnet18.yaml"), ["SEED", args.seed, "OUTPUT_DIR", str(output)])
    cfg.CLASSIFICATION.DATA = str(crops)
    resolve_device(cfg)
    plan = classification.prepare.prepare(cfg, eval_only=False)
    start_log(plan, "1/3 pretrain resnet18 on the crops")
    classification.trainer.train(plan)
    return output / "model_final.pth"


def detect(args, title, data, weights, output):
    cfg = detection.config.default_config()
    opts = ["SEED", args.seed, "OUTPUT_DIR", str(output), "MODEL.WEIGHTS", str(weights)]
    merge_config(cfg, str(CONFIGS / "faster_rcnn_resnet18_fpn.yaml"), opts)
    cfg.DATASETS.TRAIN = (str(data / "annotations" / "train.json"),)
    cfg.DATASETS.TEST = (str(data / "annotations" / "val.json"),)
    resolve_device(cfg)
    plan = detection.prepare.prepare(cfg, eval_only=False)
    start_log(plan, title)
    (row,) = detection.trainer.train(plan).values()
    return row


def run(args):
    output = Path(args.output)
    if output.exists():
        raise InputError(f"--output: {output} exists; remove it or name another folder")
    start = time.perf_counter()
    data = output / "data"
    print(f"0/3 draw {TRAIN_IMAGES} training and {TEST_IMAGES} held-out images → {data}", flush=True)
    make_shapes(data, TRAIN_IMAGES, TEST_IMAGES, args.seed)
    weights = pretrain(args, data / "crops", output / "pretrain")
    rows = {
        "pretrained": detect(args, "2/3 Faster R-CNN from that checkpoint", data, weights, output / "pretrained"),
        "random": detect(args, "3/3 Faster R-CNN from random weights", data, "", output / "random"),
    }
    write_json(rows, output / "results.json")
    print(f"\n{table(rows)}\n")
    print(f"pictures, truth left and prediction right: {output / 'pretrained' / 'pictures'}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/demo", help="folder for data, checkpoints and pictures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    return exit_code(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
