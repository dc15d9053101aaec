"""Trains Faster R-CNN on a backbone of the catalogue, or evaluates a trained detector.

tools/train_net.py --data DIR --weights auto
tools/train_net.py --config-file configs/faster_rcnn_wrn34_2.yaml --weights W --num-gpus 8
tools/train_net.py --config-file configs/faster_rcnn_resnet18_fpn.yaml --train DIR_OR_JSON --val DIR_OR_JSON --weights W
tools/train_net.py --config-file output/detection/config.yaml --eval-only --weights output/detection/model_final.pth
tools/train_net.py --data DIR --eval-only --weights A.pth --weights B.pth --shares 2,1
"""

import sys

from detection.data.layouts.arguments import add_format, set_format
from residet.cli.arguments import command_to_resume, run_parser, whole
from residet.cli.exits import exit_code
from residet.cli.shares import add_members, check_members, shares_of
from residet.cli.weights import add_list_weights, add_weights


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser, data, network = run_parser("train_net.py", __doc__)
    source = "DIR[:SPLIT]|FILE.json[:IMAGES]"
    data.add_argument(
        "--data",
        metavar="DIR",
        help="data folder, whatever its layout: trains on its split train (or trainval), tests on test (or val)",
    )
    data.add_argument("--train", metavar=source, help="training data; overrides DATASETS.TRAIN and --data")
    data.add_argument("--val", metavar=source, help="test data; overrides DATASETS.TEST and --data")
    data.add_argument(
        "--val-share",
        type=float,
        metavar="SHARE",
        help="share of the training images to test on, if the data have no test split (default 0.2); "
        "overrides DATASETS.VAL_SHARE",
    )
    add_format(data)
    network.add_argument(
        "--arch", metavar="NAME", help="network of the catalogue, e.g. resnet50, in the place of the config's"
    )
    start = network.add_mutually_exclusive_group()
    add_weights(
        start,
        "classifier or detector to start from, or to evaluate; overrides MODEL.WEIGHTS",
        several="an ensemble of detectors",
    )
    start.add_argument("--from-scratch", action="store_true", help="random weights, group norms, nothing frozen")
    network.add_argument(
        "--freeze",
        type=whole(),
        metavar="N",
        help="stages to freeze: 0 none, 1 the stem, 2 the stem and res2, …",
    )
    add_list_weights(network)
    add_members(network)
    parser.set_defaults(config_file="faster_rcnn_resnet50_fpn")
    return parser.parse_args(argv)


def configure(args):
    """The config that the arguments ask for, and the batch that its schedule is meant for (see `prepare`)."""
    from detection.config import default_config, freeze_stages, from_scratch
    from detection.data.layouts.sources import data_splits, find_split
    from detection.ensemble import resolve_ensemble
    from detection.network import put_network
    from residet.config import merge_config
    from residet.launch import resolve_device

    cfg = default_config()
    merge_config(cfg, args.config_file, [])
    if args.arch:
        put_network(cfg, args.arch)
    schedule_batch_size = cfg.SOLVER.IMS_PER_BATCH if args.data or args.train else 0
    set_format(cfg, args)
    layout = cfg.DATASETS.FORMAT
    if args.data:
        train_data, test_data = data_splits(args.data, layout)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train_data,), (test_data,) if test_data else ()
    if args.train:
        cfg.DATASETS.TRAIN = (find_split(args.train, "train", "--train", layout),)
        if args.val_share is not None and not args.data:
            cfg.DATASETS.TEST = ()
    if args.val_share is not None:
        cfg.DATASETS.VAL_SHARE = args.val_share
    if args.val:
        cfg.DATASETS.TEST = (find_split(args.val, "val", "--val", layout),)
    check_members(args.weights or [], args.shares, eval_only=args.eval_only)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights[0]
    if args.from_scratch:
        from_scratch(cfg)
    if args.freeze is not None:
        freeze_stages(cfg, args.freeze)
    merge_config(cfg, "", args.opts)
    resolve_device(cfg)
    if len(args.weights or []) > 1:
        resolve_ensemble(cfg, args.weights, args.opts)
    return cfg, schedule_batch_size


def setup(args):
    """Makes the plan of the run from the arguments: the resolved config, and the weights to start from."""
    from detection.data.splitting import resolve_test_data, split_of_started_runs
    from detection.phases import resolve_phases_output
    from detection.prepare import prepare
    from detection.start import check_start, resolve_start
    from residet.output import is_restart, resolve_output

    cfg, schedule_batch_size = configure(args)
    resumes, lines = args.resume or is_restart(), []
    if (args.data or args.train) and not (args.eval_only or cfg.PHASES or "MODEL.WEIGHTS" in args.opts):
        lines += resolve_start(cfg, resume=resumes)
    if not (args.eval_only or resumes):
        check_start(cfg)
    if cfg.PHASES and not args.eval_only:
        resume = resolve_phases_output(cfg, resume=args.resume)
    else:
        resume = resolve_output(cfg, eval_only=args.eval_only, resume=args.resume)
    seed = cfg.SEED
    with split_of_started_runs(cfg):
        lines += resolve_test_data(cfg, eval_only=args.eval_only, resume=resume, asked=args.val_share is not None)
        plan = prepare(
            cfg,
            eval_only=args.eval_only,
            resume=resume,
            overridden_keys=args.opts[::2],
            schedule_batch_size=schedule_batch_size,
        )
    plan.command = command_to_resume(args, [] if seed == cfg.SEED else ["SEED", cfg.SEED])
    plan.lines[:0] = lines
    return plan


def write_page(cfg):
    """Writes OUTPUT_DIR/report.html in the main process, unless SIGTERM stopped the run or TEST.PICTURES is 0."""
    import logging
    from pathlib import Path

    from detection.report.page import report_on_run

    from detectron2.utils import comm

    folder = Path(cfg.OUTPUT_DIR)
    if cfg.TEST.PICTURES and comm.is_main_process() and (folder / "results.json").is_file():
        logging.getLogger("residet").info("report: %s", report_on_run(folder))


def work(args):
    """Trains or evaluates, as the arguments say. Each process of a distributed run calls the function."""
    from detection.ensemble import evaluate_ensemble
    from detection.phases import train_phases
    from detection.trainer import evaluate, train
    from residet.launch import start_log

    plan = setup(args)
    start_log(plan, f"{'evaluate' if args.eval_only else 'train'} {plan.cfg.MODEL.BACKBONE.NAME}")
    if len(args.weights or []) > 1:
        evaluate_ensemble(plan, args.weights, shares_of(args.shares, len(args.weights)), args.opts)
    elif args.eval_only:
        evaluate(plan)
    elif plan.cfg.PHASES:
        train_phases(plan, args.opts[::2])
    else:
        train(plan)
    write_page(plan.cfg)


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
