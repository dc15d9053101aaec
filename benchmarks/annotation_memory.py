"""Measures the memory that annotations take in a DataLoader worker: as a list of dicts, and in `TrainingRecords`.

A forked worker that reads a Python object copies its memory pages, since reading changes the object's reference count.

benchmarks/annotation_memory.py --images 100000
"""

import argparse

from detection.data.loader import TrainingRecords
from residet.engine.loaders import Loader

import numpy as np
import torch
from detectron2.data.build import trivial_batch_collator
from torch.utils.data import Dataset


class ListRecords(Dataset):
    """A list of records, read like `TrainingRecords`: by (position, index)."""

    def __init__(self, records):
        self.records = records

    def __getitem__(self, key):
        return private_memory(self.records[key[1]])


def private_memory(record):
    """Reads a record; MiB of memory that the process shares with no other, or 0 for most records, to save time."""
    assert all(len(a["bbox"]) == 4 for a in record["annotations"])
    if record["image_id"] % 500:  # measuring takes longer than reading a record
        return 0
    with open("/proc/self/smaps_rollup") as f:
        lines = {line.split(":")[0]: line.split() for line in f if line.startswith("Private")}
    return sum(int(words[1]) for words in lines.values()) / 1024


def made_up(images):
    """Records of `images` images with seven random boxes each."""
    boxes = np.random.default_rng(0).uniform(0, 500, (images, 7, 4)).tolist()
    return [
        {
            "file_name": f"images/{i:012d}.jpg",
            "image_id": i,
            "annotations": [{"bbox": box, "category_id": 3, "iscrowd": 0} for box in image_boxes],
        }
        for i, image_boxes in enumerate(boxes)
    ]


def main():
    """Prints a worker's memory at the start and after all records, for both kinds of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, metavar="N", help="number of records (default 100,000)")
    args = parser.parse_args()
    records = made_up(args.images)
    order = [(i, int(j)) for i, j in enumerate(torch.randperm(args.images))]
    for name, data in (("list of dicts", ListRecords(records)), ("TrainingRecords", None)):
        if data is None:
            data = TrainingRecords(records, private_memory, 0)
            records.clear()
        loader = Loader(data, 50, sampler=order, num_workers=1, collate_fn=trivial_batch_collator)
        values = [v for batch in loader for v in batch if v]
        print(f"{name:16} {values[0]:7.0f} MiB at first, {values[-1]:7.0f} MiB after all {args.images} records")


if __name__ == "__main__":
    main()
