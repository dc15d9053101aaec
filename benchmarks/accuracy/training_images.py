"""How much data, and how many iterations, does a pretrained checkpoint save?

Compares detectors of one network on 25, 50, 100 and all training images of a set, from a checkpoint of transfer.py and
from random weights, with the settings of transfer.py. `OUTPUT/curves.json` has AP by training images and, for each
number of images, by iterations. The same command goes on where it was stopped, also within a run.

benchmarks/accuracy/transfer.py --cifar10 CIFAR10 --data BCCD --networks resnet50
benchmarks/accuracy/training_images.py --data BCCD
"""

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

from backbones.whole_files import write_json
from benchmarks.accuracy.transfer import NETWORKS, add_arguments, compare_starts
from residet.cli.exits import exit_code
from residet.fingerprint import origin
from residet.sweep import deadline_in


def take(data, count, folder):
    """Copies a data set in VOC layout to `folder`, with `count` of its training images. Fewer are among the more."""
    if (folder / "ImageSets" / "Main" / "train.txt").is_file():  # written last
        return folder
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("ImageSets"), dirs_exist_ok=True)
    lists, own = data / "ImageSets" / "Main", folder / "ImageSets" / "Main"
    own.mkdir(parents=True, exist_ok=True)
    for split in ("val", "test"):
        shutil.copy(lists / f"{split}.txt", own)
    names = sorted((lists / "train.txt").read_text().split())
    random.Random(0).shuffle(names)
    (own / "train.txt").write_text("".join(f"{name}\n" for name in sorted(names[:count])))
    return folder


def work(args):
    """Runs what is missing, until the time is up, and writes the figures of all comparisons that are finished."""
    deadline, rows = deadline_in(args.minutes), []
    every = len((args.data / "ImageSets" / "Main" / "train.txt").read_text().split())
    for count in [*(n for n in args.images if n < every), every]:
        data = take(args.data, count, args.output / "images" / f"data_{count}")
        folder = args.output / "images" / str(count)
        if not compare_starts([f"configs/bccd/{args.network}_fpn.yaml"], args, data, folder, deadline):
            return
        rows += [{"images": count} | row for row in json.loads((folder / "transfer.json").read_text())["rows"]]
        write_json({"rows": rows} | origin(), args.output / "curves.json")


def main():
    """Parses the command line, and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a set in VOC layout, the blood cells")
    parser.add_argument("--images", type=int, nargs="+", default=[25, 50, 100], help="numbers of training images")
    parser.add_argument("--network", default="resnet50", choices=NETWORKS, metavar="NAME")
    add_arguments(parser)
    args = parser.parse_args()
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
