"""Trains and evaluates Faster R-CNN on a residual network.

tools/train_net.py --config-file configs/faster_rcnn_wrn34_2.yaml --num-gpus 8
tools/train_net.py --config-file configs/faster_rcnn_resnet18_fpn.yaml --data VOC_OR_COCO_FOLDER MODEL.WEIGHTS R18.pth
tools/train_net.py --config-file output/detection/config.yaml --eval-only MODEL.WEIGHTS output/detection/model_final.pth
"""

import sys

from backbones.run import (
    argument_parser,
    check_output,
    choose_device,
    exit_code,
    log,
    merge_config,
    run_distributed,
    start_log,
)
from detection.config import default_config
from detection.datasets import data_splits
from detection.trainer import evaluate, prepare, train


def parse(argv=None):
    parser = argument_parser(__doc__)
    source = "DIR:SPLIT|FILE.json[:IMAGES]"
    parser.add_argument("--data", metavar="DIR", help="folder of VOC or COCO layout: its train and test (or val) split")
    parser.add_argument("--train", metavar=source, help="training data; overrides DATASETS.TRAIN")
    parser.add_argument("--val", metavar=source, help="data to evaluate on; overrides DATASETS.TEST")
    return parser.parse_args(argv)


def setup(args):
    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    if args.data:
        train_data, test_data = data_splits(args.data)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train_data,), (test_data,)
    if args.train:
        cfg.DATASETS.TRAIN = (args.train,)
    if args.val:
        cfg.DATASETS.TEST = (args.val,)
    choose_device(cfg)
    check_output(cfg, args)
    data_report = prepare(cfg, eval_only=args.eval_only, resume=args.resume)
    cfg.freeze()
    return cfg, data_report


def work(args):
    cfg, data_report = setup(args)
    start_log(cfg, args, f"{'evaluate' if args.eval_only else 'train'} {cfg.MODEL.BACKBONE.NAME}")
    for line in data_report:
        log.info("%s", line)
    if args.eval_only:
        evaluate(cfg)
    else:
        train(cfg, args.resume)


def main(argv=None):
    args = parse(argv)
    return exit_code(lambda: run_distributed(work, args))


if __name__ == "__main__":
    sys.exit(main())
