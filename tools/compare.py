"""Trains several networks on the same data, or takes finished runs, and says which of them differ in AP.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/compare.py configs/bccd/*_fpn.yaml --data BCCD --weights 'CIFAR10/{arch}/model_final.pth' --random --seeds 0 1 2
tools/compare.py bccd/resnet50_fpn --archs resnet50 wrn34_2 resnext50_32x4d --data BCCD --minutes 60
tools/compare.py output/compare/*_0 output/another_run
tools/compare.py --paper resnext
"""

import importlib
import sys
from pathlib import Path

from backbones.errors import InputError
from residet.cli.arguments import Parser, add_sweep, whole
from residet.cli.exits import exit_code
from residet.cli.weights import add_list_weights, add_weights


def planned(argv):
    """The fingerprint of the run that arguments of tools/train_net.py ask for, where OUTPUT_DIR holds such a run."""
    from detection.data.splitting import resolve_test_data
    from detection.prepare import prepare
    from residet.fingerprint import fingerprint

    args, cfg, schedule_batch_size = configured(argv)
    resolve_test_data(cfg, eval_only=False, resume=True, asked=False)  # as the run itself has split its data
    keys = args.opts[::2]
    plan = prepare(cfg, eval_only=False, overridden_keys=keys, schedule_batch_size=schedule_batch_size)
    return fingerprint(plan)


def check(argv):
    """Raises InputError if arguments of tools/train_net.py ask for a run that cannot start, whatever the data."""
    from backbones.registry import spec_of_builder
    from backbones.weights.read import read_weights
    from detection.prepare import check_weights
    from detection.schema.keys import check_keys
    from detection.start import check_start

    args, cfg, _ = configured(argv)
    check_keys(cfg, args.opts[::2], eval_only=False)
    check_start(cfg)
    if cfg.MODEL.WEIGHTS:
        check_weights(cfg, read_weights(cfg.MODEL.WEIGHTS, spec_of_builder(cfg.MODEL.BACKBONE.NAME).name))


def configured(argv):
    """Arguments of tools/train_net.py parsed, the config that they ask for, and the batch of its schedule."""
    train_net = importlib.import_module(f"{__package__}.train_net" if __package__ else "train_net")
    args = train_net.parse(argv)
    return args, *train_net.configure(args)


def report(names, output):
    """Prints the tables, and writes the tables and, once a run is finished, the page."""
    from detection.comparison.rows import pairs_of, rows_of
    from detection.comparison.tables import write
    from detection.report.page import write_report

    rows = rows_of(names)
    pairs = pairs_of(rows)
    print(write(rows, pairs, output))
    if any(row.runs for row in rows):
        print(f"\nreport: {write_report(rows, output / 'report.html', pairs)}")


def paper(name, folders, output):
    """Prints and writes a paper's tables with the figures of our runs."""
    from backbones.whole_files import write_text
    from detection.comparison.paper import lay_out

    table = lay_out(name, [Path(folder) for folder in folders])
    print(table)
    write_text(table + "\n", output / f"paper_{name}.md")


def work(args):
    """Trains the runs that the arguments ask for, or takes the finished ones; then writes and prints the tables."""
    from detection.comparison.matrix import RANDOM, check_runs, compare, groups, runs
    from detection.comparison.rows import groups_of
    from residet.sweep import command_of

    output = Path(args.output)
    if args.paper:
        paper(args.paper, args.source, output)
        return
    folders = [path for path in args.source if Path(path).is_dir()]
    if folders:
        if len(folders) < len(args.source):
            raise InputError("compare: give either configs to train or folders of finished runs, not both")
        report(groups_of(folders), output)
        return
    starts = [args.weights] if args.weights else []
    starts += [RANDOM] if args.random or not starts else []
    todo = runs(args.source, starts, args.seeds, args.archs)
    options = [*(["--data", args.data] if args.data else []), *args.opts]
    check_runs(todo, options, output, planned, check)
    train = command_of(Path(__file__).with_name("train_net.py"), args.processes)
    try:
        compare(todo, train, options, output, args.minutes)
    finally:
        report(groups(todo, output), output)


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("compare.py", __doc__)
    parser.add_argument(
        "source",
        nargs="*",
        help="configs, one for each detector to train and compare: files or names; or folders of finished runs",
    )
    parser.add_argument(
        "--archs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="networks that take the place of the config's network, each in turn",
    )
    parser.add_argument(
        "--paper",
        choices=("resnet", "wrn", "resnext"),
        help="the paper's detection tables, with our runs beside the printed figures, and the commands that are left",
    )
    what = parser.add_argument_group("data, weights and seeds")
    what.add_argument(
        "--data",
        metavar="DIR",
        help="data folder in VOC, COCO or YOLO layout; without it, the data that the configs name",
    )
    add_weights(what, "checkpoint to start from, {arch} stands for the name of each config's network")
    add_list_weights(what)
    what.add_argument(
        "--random", action="store_true", help="start from random weights, in addition to --weights if it is given"
    )
    what.add_argument(
        "--seeds",
        type=whole(),
        nargs="+",
        default=[0],
        metavar="N",
        help="random seeds; each detector is trained with each seed",
    )
    add_sweep(parser, "output/compare")
    args = parser.parse_args(argv)
    if not (args.source or args.paper):
        parser.error("configs to train or folders of finished runs are required, or --paper")
    return args


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
