"""Reproduces the classification tables of the papers: trains and tests networks, prints errors beside the papers'.

If the tool was stopped, the same command goes on: finished trainings are not repeated.

tools/reproduce.py --list
tools/reproduce.py resnext_imagenet --data IMAGENET --processes 8
tools/reproduce.py cifar10 --data CIFAR10 --minutes 25 --set SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE bfloat16
tools/reproduce.py wrn_cifar10:cifar_wrn16_8 --data CIFAR10 --seeds 0 1 2 3 4
tools/reproduce.py speed:wrn_blocks
tools/reproduce.py small --data CIFAR10 --minutes 60
tools/reproduce.py wrn_cifar100:cifar_wrn28_10 --data CIFAR100 --dataset cifar100 --download
"""

import importlib
import sys
from pathlib import Path

from residet.cli.arguments import Parser, add_sweep, whole
from residet.cli.configs import configs_folder
from residet.cli.exits import exit_code


def list_tables():
    """Prints the name, source, data and networks of each table, and the contents of each selection."""
    from classification.papers.claims import CLAIMS
    from classification.papers.published import tables
    from classification.papers.reproduce import SELECTIONS
    from classification.papers.speed import speed_tables

    for name, table in tables().items():
        print(f"{name:24} {table.source:32} {table.data:10} {', '.join(table.error)}")
    for name, rows in SELECTIONS.items():
        print(f"{name:24} {', '.join(rows)}")
    for name, table in speed_tables().items():
        print(f"{'speed:' + name:24} {table.source}: {', '.join(table.time)}")
    print(f"{'small':24} {'; '.join(claim.words for claim in CLAIMS)}")


def measure_speed(args):
    """Measures the tables "speed" or "speed:NAME", prints the ratios beside the papers', and writes speed.json."""
    from backbones.whole_files import check_folder, write_json
    from classification.papers.speed import chosen_tables, measure, ratios, summary
    from residet.fingerprint import origin

    import torch

    tables = chosen_tables(args.table)
    check_folder(args.output, "--output")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = ratios({table.name: measure(table, device, args.steps, args.batch) for table in tables})
    print(summary(rows))
    file = Path(args.output) / "speed.json"
    write_json({"rows": rows} | origin(), file)
    print(f"figures: {file}")


def try_claims(args, pretrain, options):
    """Trains the short runs of the papers' claims, prints and writes the verdicts, and draws the curves."""
    from backbones.whole_files import write_json
    from classification.papers.claims import draw, measured, run_claims, short_runs, summary
    from classification.papers.reproduce import check
    from residet.fingerprint import origin

    seeds, output = args.seeds or [0, 1], Path(args.output) / "small"
    todo, configs = short_runs(seeds), configs_folder() / "classification"
    check([(r.folder(output), r.training(configs, output, args.iterations)) for r in todo], options, planned)
    try:
        run_claims(todo, pretrain, options, configs, output, args.iterations, args.minutes)
    finally:
        rows = measured(seeds, output)
        print(summary(rows))
        write_json({"rows": rows, "iterations": args.iterations} | origin(), output / "claims.json")
        draw(seeds, output, output / "claims.png")
        print(f"figures: {output / 'claims.json'}, curves: {output / 'claims.png'}")


def planned(argv):
    """The fingerprint of the run that arguments of tools/pretrain.py ask for."""
    from classification.prepare import read_plan
    from residet.fingerprint import fingerprint

    pretrain = importlib.import_module(f"{__package__}.pretrain" if __package__ else "pretrain")
    args = pretrain.parse(argv)
    cfg = pretrain.configure(args)
    return fingerprint(read_plan(cfg, eval_only=args.eval_only, overridden_keys=args.opts[::2]))


def work(args):
    """Runs the networks that the arguments name and prints the table, or lists the tables."""
    from classification.papers.reproduce import check, entries, run, runs_of, summary
    from residet.sweep import command_of

    if args.list or not args.table:
        list_tables()
        return
    if all(name.partition(":")[0] == "speed" for name in args.table):
        measure_speed(args)
        return
    output = Path(args.output)
    options = ["--dataset", args.dataset] if args.dataset else []
    options += ["--download"] if args.download else []
    options = ["--data", args.data, *options, *args.opts]
    pretrain = command_of(Path(__file__).with_name("pretrain.py"), args.processes)
    if args.table == ["small"]:
        try_claims(args, pretrain, options)
        return
    configs = configs_folder() / "classification"
    todo = entries(args.table, args.seeds or [None])
    check(runs_of(todo, configs, output), options, planned)
    try:
        run(todo, pretrain, options, configs, output, args.minutes)
    finally:
        print(summary(todo, output))


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("reproduce.py", __doc__)
    parser.add_argument(
        "table",
        nargs="*",
        help="what to run: TABLE, TABLE:NETWORK or a selection, as --list prints them; speed or speed:TABLE, without "
        "data; small",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the tables with their networks and the selections, and stop"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", default="", metavar="DIR", help="folder of the data set that the table is about")
    data.add_argument("--dataset", default="", help="what DIR holds, as in tools/pretrain.py")
    data.add_argument("--download", action="store_true", help="download the data into DIR if DIR lacks them")
    parser.add_argument(
        "--seeds",
        type=whole(),
        nargs="+",
        metavar="N",
        help="train each network with each of these values of SEED, and print the statistic that the paper gives",
    )
    speed = parser.add_argument_group("speed")
    speed.add_argument("--steps", type=whole(1), default=10, metavar="N", help="steps of each network that count")
    speed.add_argument("--batch", type=whole(), default=0, metavar="N", help="images in a step; 0: the paper's number")
    parser.add_argument(
        "--iterations", type=whole(1), default=3200, metavar="N", help="small: length of each run in iterations"
    )
    add_sweep(parser, "output/reproduce")
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
