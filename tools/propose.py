"""Writes the proposals of a trained RPN for a data set to a file, on which a Fast R-CNN can train or be tested.

tools/propose.py RUN/rpn/config.yaml --weights RUN/rpn/model_final.pth --data DIR:SPLIT proposals.pth
tools/train_net.py --config-file RUN/fast_rcnn/config.yaml --eval-only --weights RUN/fast_rcnn/model_final.pth \\
    --val DIR:SPLIT DATASETS.PROPOSAL_FILES_TEST "('proposals.pth',)"
"""

import logging
import sys
from pathlib import Path

from backbones.errors import InputError
from residet.cli.arguments import Parser, add_overrides
from residet.cli.exits import exit_code


def work(args):
    """Writes the proposals.

    Raises:
        InputError: the target exists or is no .pth file, or the config, weights or data cannot be used.
    """
    from backbones.whole_files import check_target
    from detection.config import default_config
    from detection.prepare import prepare
    from detection.propose import propose
    from residet.config import merge_config
    from residet.launch import resolve_device

    target = Path(args.target)
    check_target(target, "target")
    if target.suffix != ".pth":
        raise InputError(f"{target}: proposals are written as .pth; give the file that suffix")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    cfg = default_config()
    merge_config(cfg, args.config, ["MODEL.WEIGHTS", args.weights, *args.opts])
    cfg.DATASETS.TEST = (args.data,)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME = "ProposalNetwork", "RPN"
    cfg.MODEL.LOAD_PROPOSALS = False
    cfg.DATASETS.PROPOSAL_FILES_TRAIN = cfg.DATASETS.PROPOSAL_FILES_TEST = ()
    resolve_device(cfg)
    plan = prepare(cfg, eval_only=True)
    for line in plan.lines:
        print(line)
    propose(plan.cfg, plan.weights, {args.data: target})


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("propose.py", __doc__)
    parser.add_argument("config", help="config.yaml of the run that trained the RPN")
    parser.add_argument("target", help=".pth file to write; must not exist")
    parser.add_argument("--weights", required=True, metavar="FILE", help="checkpoint of an RPN or of a Faster R-CNN")
    parser.add_argument(
        "--data", required=True, metavar="DIR:SPLIT|FILE.json[:IMAGES]", help="data set of the images to propose for"
    )
    add_overrides(parser)
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
