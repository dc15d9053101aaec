"""Trains ImageNet localisation as ResNet's appendix C: a per-class RPN, then an R-CNN on its boxes; prints the errors.

tools/localise.py --data ILSVRC --weights resnet101_caffe.pth --num-gpus 8
tools/localise.py --data ILSVRC --weights W.pth --eval-only LOCALISATION.TEST_SCALES "(224,256,384,480,640)"
"""

import sys
from pathlib import Path

from residet.cli.arguments import run_parser
from residet.cli.exits import exit_code


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser, data, network = run_parser("localise.py", __doc__)
    data.add_argument("--data", default="", metavar="DIR", help="the folder ILSVRC; overrides LOCALISATION.DATA")
    network.add_argument("--arch", default="", help="name of the network; overrides LOCALISATION.ARCH")
    network.add_argument(
        "--weights",
        metavar="FILE",
        help="classifier to start from, which also predicts the classes of the test images; overrides MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--stages", nargs="+", default=["rpn", "rcnn"], choices=["rpn", "rcnn"], help="what to train, in this order"
    )
    return parser.parse_args(argv)


def work(args):
    """Trains and tests the stages. Each process of a distributed run calls the function."""
    from detection.localisation.config import default_config
    from detection.localisation.trainer import evaluate_stages, train_stages
    from residet.config import merge_config
    from residet.launch import resolve_device, start_log
    from residet.output import in_main_process, take_folder
    from residet.plan import RunPlan

    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    cfg.LOCALISATION.DATA = args.data or cfg.LOCALISATION.DATA
    cfg.LOCALISATION.ARCH = args.arch or cfg.LOCALISATION.ARCH
    cfg.MODEL.WEIGHTS = args.weights or cfg.MODEL.WEIGHTS
    resolve_device(cfg)
    in_main_process(lambda: take_folder(Path(cfg.OUTPUT_DIR)))
    start_log(RunPlan(cfg), f"localise {cfg.LOCALISATION.ARCH} on {cfg.LOCALISATION.DATA}")
    if args.eval_only:
        evaluate_stages(cfg, args.stages)
    else:
        train_stages(cfg, args.stages, resume=args.resume)


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
