"""Pretrains a residual network on a labelled image folder.

tools/pretrain.py --arch resnext101_32x4d --data IMAGENET
tools/pretrain.py --data CIFAR10 --dataset cifar10 --download --config-file configs/classification/cifar_wrn.yaml
tools/pretrain.py --data IMAGENET --scan
tools/pretrain.py --eval-only --arch resnet50 --data IMAGENET MODEL.WEIGHTS FILE CLASSIFICATION.TEST.VIEWS 10crop
torchrun --nproc-per-node 8 tools/pretrain.py --arch resnet50 --data IMAGENET
"""

import sys
from pathlib import Path

from backbones.errors import InputError
from classification.config import default_config
from classification.data.scan import scan
from classification.prepare import prepare
from classification.trainer import evaluate, train
from residet.config import merge_config
from residet.launch import argument_parser, exit_code, resolve_device, run_distributed, start_log
from residet.output import resolve_output
from residet.plan import RunPlan

DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "classification" / "imagenet.yaml"


def parse(argv=None):
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", default="", help="network, e.g. resnet50; overrides CLASSIFICATION.ARCH")
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the data: train/CLASS/* and val/CLASS/*")
    parser.add_argument("--dataset", default="", help="what the folder holds; overrides CLASSIFICATION.DATASET")
    parser.add_argument("--download", action="store_true", help="fetch the data into DIR if it is not there")
    parser.add_argument("--scan", action="store_true", help="decode every image, list the bad ones, and stop")
    parser.set_defaults(config_file=str(DEFAULT_CONFIG))
    return parser.parse_args(argv)


def setup(args):
    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    if args.arch:
        cfg.CLASSIFICATION.ARCH = args.arch
    if args.data:
        cfg.CLASSIFICATION.DATA = args.data
    if args.dataset:
        cfg.CLASSIFICATION.DATASET = args.dataset
    cfg.CLASSIFICATION.DOWNLOAD |= args.download
    resolve_device(cfg)
    if args.scan:
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / "scan")
        return RunPlan(cfg)
    resume = resolve_output(cfg, eval_only=args.eval_only, resume=args.resume)
    return prepare(cfg, eval_only=args.eval_only, resume=resume, overridden_keys=args.opts[::2])


def work(args):
    plan = setup(args)
    c = plan.cfg.CLASSIFICATION
    if args.scan:
        start_log(plan, f"scan {c.DATA}")
        if problems := scan(plan.cfg):
            raise InputError(f"{len(problems)} bad images, listed in {plan.cfg.OUTPUT_DIR}/bad_images.txt")
        return
    start_log(plan, f"{'evaluate' if args.eval_only else 'pretrain'} {c.ARCH} on {c.DATA}")
    if args.eval_only:
        evaluate(plan)
    else:
        train(plan)


def main(argv=None):
    args = parse(argv)
    return exit_code(lambda: run_distributed(work, args))


if __name__ == "__main__":
    sys.exit(main())
