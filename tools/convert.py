"""Converts detection data of VOC or YOLO layout to COCO JSON; images stay where they are.

tools/convert.py DIR:train annotations/train.json
tools/convert.py data.yaml:val val.json
"""

import argparse
import sys
from pathlib import Path

from backbones.errors import InputError
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.coco import write_coco
from residet.launch import exit_code

from detectron2.data import DatasetCatalog


def work(args):
    target = Path(args.target)
    if target.exists():
        raise InputError(f"{target}: exists; name another file")
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (args.source,)
    cfg.DATASETS.VOC_FIRST_PIXEL = args.first_pixel
    for line in resolve_datasets(cfg):
        print(line)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_coco(DatasetCatalog.get(args.source), cfg.DATASETS.CLASSES, target)
    print(f"{target}: paths of images are relative to it")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="DIR:SPLIT or data.yaml:SPLIT")
    parser.add_argument("target", help="the .json file to write")
    parser.add_argument("--first-pixel", type=int, choices=(0, 1), default=1, help="of VOC's corners")
    args = parser.parse_args(argv)
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
