"""Trains a network to classify the images of a folder, or evaluates a trained one.

tools/pretrain.py --arch resnext101_32x4d --data IMAGENET
tools/pretrain.py --data CIFAR10 --dataset cifar10 --download --config-file configs/classification/cifar_wrn.yaml
tools/pretrain.py --data IMAGENET --scan
tools/pretrain.py --eval-only --arch resnet50 --data IMAGENET --weights FILE CLASSIFICATION.TEST.VIEWS 10crop
tools/pretrain.py --eval-only --arch resnet50 --data IMAGENET --weights torchvision:resnet50
tools/pretrain.py --eval-only --data IMAGENET --weights A.pth --weights B.pth CLASSIFICATION.TEST.VIEWS dense
torchrun --nproc-per-node 8 tools/pretrain.py --arch resnet50 --data IMAGENET
"""

import sys
from pathlib import Path

from backbones.errors import InputError
from residet.cli.arguments import command_to_resume, run_parser
from residet.cli.exits import exit_code
from residet.cli.shares import add_members, check_members, shares_of
from residet.cli.weights import add_list_weights, add_weights


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser, data, network = run_parser("pretrain.py", __doc__)
    network.add_argument("--arch", default="", help="name of the network, e.g. resnet50; overrides CLASSIFICATION.ARCH")
    data.add_argument("--data", default="", metavar="DIR", help="data folder; overrides CLASSIFICATION.DATA")
    data.add_argument(
        "--dataset",
        default="",
        help="what DIR holds: folder (default; train/CLASS/* and val/CLASS/*), imagenet, cifar10, cifar100, svhn or "
        "webdataset; overrides CLASSIFICATION.DATASET",
    )
    data.add_argument("--download", action="store_true", help="download the data into DIR if DIR lacks them")
    data.add_argument(
        "--scan", action="store_true", help="decode every image, list those that cannot be decoded, and stop"
    )
    add_weights(network, "classifier to start from, or to evaluate; overrides MODEL.WEIGHTS", several="an ensemble")
    add_list_weights(network)
    add_members(network)
    parser.set_defaults(config_file="classification/imagenet")
    return parser.parse_args(argv)


def configure(args):
    """The config that the arguments ask for."""
    from classification.config import default_config
    from residet.config import merge_config
    from residet.launch import resolve_device

    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    if args.arch:
        cfg.CLASSIFICATION.ARCH = args.arch
    if args.data:
        cfg.CLASSIFICATION.DATA = args.data
    if args.dataset:
        cfg.CLASSIFICATION.DATASET = args.dataset
    paths = args.weights or []
    check_members(paths, args.shares, eval_only=args.eval_only)
    if paths:
        cfg.MODEL.WEIGHTS = paths[0]
    cfg.CLASSIFICATION.DOWNLOAD |= args.download
    resolve_device(cfg)
    return cfg


def setup(args):
    """Makes the plan of the run from the arguments: the resolved config, and the weights to start from."""
    from classification.ensemble import prepare_ensemble
    from classification.prepare import prepare
    from residet.output import resolve_output
    from residet.plan import RunPlan

    cfg = configure(args)
    if args.scan:
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / "scan")
        return RunPlan(cfg)
    resume = resolve_output(cfg, eval_only=args.eval_only, resume=args.resume)
    paths = args.weights or []
    if len(paths) > 1:
        return prepare_ensemble(cfg, paths, shares_of(args.shares, len(paths)), args.opts[::2])
    seed = cfg.SEED
    plan = prepare(cfg, eval_only=args.eval_only, resume=resume, overridden_keys=args.opts[::2])
    plan.command = command_to_resume(args, [] if seed == cfg.SEED else ["SEED", cfg.SEED])
    return plan


def work(args):
    """Trains, evaluates or scans, as the arguments say. Each process of a distributed run calls the function.

    Raises:
        InputError: an argument, the data or the weights cannot be used, or --scan has found bad images.
    """
    from classification.data.scan import scan
    from classification.ensemble import EnsemblePlan, evaluate_ensemble
    from classification.trainer import evaluate, train
    from residet.launch import start_log

    plan = setup(args)
    c = plan.cfg.CLASSIFICATION
    if args.scan:
        start_log(plan, f"scan {c.DATA}")
        if problems := scan(plan.cfg):
            raise InputError(
                f"{len(problems)} bad images, listed in {plan.cfg.OUTPUT_DIR}/bad_images.txt; repair or remove them"
            )
        return
    start_log(plan, f"{'evaluate' if args.eval_only else 'pretrain'} {c.ARCH} on {c.DATA}")
    if isinstance(plan, EnsemblePlan):
        evaluate_ensemble(plan)
    elif args.eval_only:
        evaluate(plan)
    else:
        train(plan)


def distributed(args):
    """Runs `work` in as many processes as the arguments ask for."""
    from residet.launch import run_distributed

    run_distributed(work, args)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: distributed(args))


if __name__ == "__main__":
    sys.exit(main())
