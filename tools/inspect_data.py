"""Reports counts, sizes and defects of detection data, and draws sample images with their boxes.

tools/inspect_data.py DIR:train DIR:val
tools/inspect_data.py train.json --samples 16 --augmented 16 --config-file configs/bccd/resnet18_fpn.yaml
"""

import sys
from pathlib import Path

from detection.data.layouts.arguments import add_format, set_format
from residet.cli.arguments import Parser, add_config_file, add_overrides, whole
from residet.cli.exits import exit_code

# Among more images, look-alikes are sought only if the user asks for them.
_COMPARED = 5000


def names_of(source, layout):
    """The names of the data that an argument means: all splits of a folder, or the argument itself.

    Args:
        source: the argument.
        layout: name of the reader that reads folders; "" if their content decides.
    """
    from detection.data.layouts.sources import splits_of

    folder = Path(source)
    return list(splits_of(folder, layout).values()) or [source] if folder.is_dir() else [source]


def work(args):
    """Prints the report, draws the samples and writes inspect.json."""
    from backbones.whole_files import check_folder, write_json
    from detection.config import default_config
    from detection.data.catalog import resolve_datasets, slug
    from detection.data.duplicates import compare_sets
    from detection.data.statistics import as_text, describe, draw_augmented, draw_samples, unreadable
    from detection.schema.table import TABLE
    from residet.config import merge_config
    from residet.schema.kinds import check_values

    from detectron2.data import DatasetCatalog

    check_folder(args.output, "--output")
    cfg = default_config()
    merge_config(cfg, args.config_file, args.opts)
    set_format(cfg, args)
    # Without --config-file, the keys of MODEL have detectron2's defaults, which no run may have.
    check_values(cfg, {name: key for name, key in TABLE.items() if name.startswith(("INPUT.", "DATASETS.", "SOLVER."))})
    names = [name for source in args.source for name in names_of(source, cfg.DATASETS.FORMAT)]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), tuple(names)
    lines = resolve_datasets(cfg)
    print("\n".join(line for line in lines if line.startswith(("read as ", "warning: "))))
    report, output, pictures = {}, Path(args.output), []
    for name in names:
        report[name] = describe(name) | {"defects": [x for x in lines if x.startswith(f"{name}: ")][1:]}
        broken = report[name]["unreadable"] = unreadable(name)
        print(f"{name}: {as_text(report[name])}")
        for line in [*report[name]["defects"], *broken.values()]:
            print(f"defect: {line}")
        readable = [r for r in DatasetCatalog.get(name) if r["file_name"] not in broken]
        if args.samples:
            pictures.append(f"{slug(name)}_samples.png")
            draw_samples(name, readable, args.samples, output / pictures[-1], cfg.SEED)
        if args.augmented:
            pictures.append(f"{slug(name)}_augmented.png")
            dropped = draw_augmented(cfg, name, readable, args.augmented, output / pictures[-1], cfg.SEED)
            print(f"{dropped} boxes of {args.augmented} augmented samples were cropped away or left without area")
    files = {name: [r["file_name"] for r in DatasetCatalog.get(name)] for name in names}
    if args.duplicates or sum(map(len, files.values())) <= _COMPARED:
        report["look_alikes"] = compare_sets(files)
        for sets, pairs in report["look_alikes"].items():
            print(f"{sets}: {len(pairs)} images look like another one, such as {' and '.join(pairs[0])}")
    write_json(report, output / "inspect.json")
    print(f"written to {output}: {', '.join(['inspect.json', *pictures])}")


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("inspect_data.py", __doc__)
    parser.add_argument(
        "source",
        nargs="+",
        help="data: DIR (all splits), DIR:SPLIT, data.yaml:SPLIT, or FILE.json with the folder of its images, "
        "FILE.json:IMAGES, if they are elsewhere",
    )
    add_format(parser)
    parser.add_argument(
        "--duplicates",
        action="store_true",
        help=f"look for images that look alike among more than {_COMPARED} images, too",
    )
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--samples", type=whole(), default=9, metavar="N", help="number of images to draw with their boxes"
    )
    pictures.add_argument(
        "--augmented", type=whole(), default=0, metavar="N", help="number of images to draw as training augments them"
    )
    config = parser.add_argument_group("config, whose INPUT.* keys say how --augmented augments")
    add_config_file(config)
    add_overrides(config)
    parser.add_argument_group("output").add_argument(
        "--output", default="output/inspect", metavar="DIR", help="folder for inspect.json and the pictures"
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
