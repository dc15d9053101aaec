"""Trains and evaluates Faster R-CNN on a residual network.

tools/train_net.py --config-file configs/faster_rcnn_wrn34_2.yaml --num-gpus 8
tools/train_net.py --config-file configs/faster_rcnn_resnet18_fpn.yaml --train DIR_OR_JSON --val DIR_OR_JSON --weights W
tools/train_net.py --config-file output/detection/config.yaml --eval-only --weights output/detection/model_final.pth
"""

import sys

from detection.config import default_config, freeze_stages, from_scratch
from detection.data.sources import data_splits, find_split
from detection.phases import check_stages_output, train_stages
from detection.prepare import prepare
from detection.trainer import evaluate, train
from residet.launch import (
    argument_parser,
    check_output,
    choose_device,
    exit_code,
    log,
    merge_config,
    run_distributed,
    start_log,
)


def parse(argv=None):
    parser = argument_parser(__doc__)
    source = "DIR[:SPLIT]|FILE.json[:IMAGES]"
    parser.add_argument("--data", metavar="DIR", help="folder of VOC, COCO or YOLO layout: its train and test (or val)")
    parser.add_argument("--train", metavar=source, help="training data; overrides DATASETS.TRAIN")
    parser.add_argument("--val", metavar=source, help="data to evaluate on; overrides DATASETS.TEST")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help="classifier or detector to start from; MODEL.WEIGHTS")
    start.add_argument("--from-scratch", action="store_true", help="random weights, group norm, nothing frozen")
    parser.add_argument("--freeze", type=int, metavar="N", help="stages that stay: 0 none, 1 the stem, 2 and res2, …")
    return parser.parse_args(argv)


def setup(args):
    cfg = default_config()
    merge_config(cfg, args.config_file, [])
    batch = cfg.SOLVER.IMS_PER_BATCH if args.data or args.train else 0
    if args.data:
        train_data, test_data = data_splits(args.data)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train_data,), (test_data,)
    if args.train:
        cfg.DATASETS.TRAIN = (find_split(args.train, "train", "--train"),)
    if args.val:
        cfg.DATASETS.TEST = (find_split(args.val, "val", "--val"),)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    if args.from_scratch:
        from_scratch(cfg)
    if args.freeze is not None:
        freeze_stages(cfg, args.freeze)
    merge_config(cfg, "", args.opts)
    choose_device(cfg)
    if cfg.STAGES and not args.eval_only:
        check_stages_output(cfg, args)
    else:
        check_output(cfg, args)
    data_report = prepare(cfg, eval_only=args.eval_only, resume=args.resume, given=args.opts[::2], batch=batch)
    cfg.freeze()
    return cfg, data_report


def work(args):
    cfg, data_report = setup(args)
    start_log(cfg, args, f"{'evaluate' if args.eval_only else 'train'} {cfg.MODEL.BACKBONE.NAME}")
    for line in data_report:
        log.info("%s", line)
    if args.eval_only:
        evaluate(cfg)
    elif cfg.STAGES:
        train_stages(cfg, args.opts[::2])
    else:
        train(cfg, args.resume)


def main(argv=None):
    args = parse(argv)
    return exit_code(lambda: run_distributed(work, args))


if __name__ == "__main__":
    sys.exit(main())
