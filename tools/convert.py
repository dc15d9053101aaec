"""Converts annotations of any layout that can be read to a COCO JSON file. The images stay where they are.

tools/convert.py DIR:train annotations/train.json
tools/convert.py data.yaml:val val.json
"""

import sys
from pathlib import Path

from detection.data.layouts.arguments import add_format, set_format
from residet.cli.arguments import Parser
from residet.cli.exits import exit_code


def work(args):
    """Reads the data and writes the annotation file.

    Raises:
        InputError: the target exists, or the data are missing or broken.
    """
    from backbones.whole_files import check_target
    from detection.config import default_config
    from detection.data.catalog import resolve_datasets
    from detection.data.layouts.coco import write_coco

    from detectron2.data import DatasetCatalog

    target = Path(args.target)
    check_target(target, "target")
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (args.source,)
    cfg.DATASETS.VOC_FIRST_PIXEL = args.first_pixel
    set_format(cfg, args)
    for line in resolve_datasets(cfg):
        print(line)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_coco(DatasetCatalog.get(args.source), cfg.DATASETS.CLASSES, target)
    print(f"{target}: written; the paths of the images are relative to its folder")


def parse(argv=None):
    """Parses the command line, or `argv`."""
    parser = Parser("convert.py", __doc__)
    parser.add_argument("source", help="data to convert: DIR:SPLIT, DIR without splits, or data.yaml:SPLIT")
    parser.add_argument("target", help="COCO JSON file to write; must not exist")
    add_format(parser)
    parser.add_argument(
        "--first-pixel",
        type=int,
        choices=(0, 1),
        default=1,
        help="number of the first pixel in VOC's XML files: 1 if corners are pixels counted from 1, as in "
        "VOC's own files; 0 if corners are continuous coordinates",
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Runs the tool with the command line's arguments, or with `argv`; returns the exit code."""
    args = parse(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
