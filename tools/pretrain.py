"""Pretrains a residual network on a labelled image folder.

tools/pretrain.py --arch resnext101_32x4d --data IMAGENET
tools/pretrain.py --arch resnet18 --data CIFAR --config-file configs/classification/cifar10.yaml SEED 1
torchrun --nproc-per-node 8 tools/pretrain.py --arch resnet50 --data IMAGENET
"""

import sys
from pathlib import Path

from backbones.run import (
    argument_parser,
    check_output,
    choose_device,
    exit_code,
    merge_config,
    run_distributed,
    start_log,
)
from classification.config import default_config
from classification.trainer import evaluate, prepare, train

DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "classification" / "imagenet.yaml"


def parse(argv=None):
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", default="", help="network, e.g. resnet50; overrides CLASSIFICATION.ARCH")
    parser.add_argument("--data", default="", metavar="DIR", help="folder with train/CLASS/* and val/CLASS/*")
    parser.set_defaults(config_file=str(DEFAULT_CONFIG))
    return parser.parse_args(argv)


def setup(args):
    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    if args.arch:
        cfg.CLASSIFICATION.ARCH = args.arch
    if args.data:
        cfg.CLASSIFICATION.DATA = args.data
    choose_device(cfg)
    check_output(cfg, resume=args.resume, eval_only=args.eval_only)
    prepare(cfg, eval_only=args.eval_only, resume=args.resume)
    cfg.freeze()
    return cfg


def work(args):
    cfg = setup(args)
    c = cfg.CLASSIFICATION
    start_log(cfg, args, f"{'evaluate' if args.eval_only else 'pretrain'} {c.ARCH} on {c.DATA}")
    if args.eval_only:
        evaluate(cfg)
    else:
        train(cfg, args.resume)


def main(argv=None):
    args = parse(argv)
    return exit_code(lambda: run_distributed(work, args))


if __name__ == "__main__":
    sys.exit(main())
