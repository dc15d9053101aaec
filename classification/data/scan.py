"""Finds the images of a data set that cannot be decoded, before a run meets them."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_text
from classification.data.datasets import open_split
from classification.data.images import BadImage, LabelledImages
from classification.data.shards import Shards
from residet.progress import progress

from detectron2.config import CfgNode
from torch.utils.data import DataLoader, Dataset

log = logging.getLogger("residet")


class _Problems(Dataset):
    """For each image (label, ""), or (None, message) if the image cannot be decoded."""

    def __init__(self, images: LabelledImages):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int | None, str]:
        try:
            return self.images.load(index)[1], ""
        except BadImage as e:
            return None, str(e)


def scan(cfg: CfgNode) -> list[str]:
    """Decodes every image of train and val. Logs the counts of each split, and every image that cannot be decoded.

    Returns:
        a message for each image that cannot be decoded. OUTPUT_DIR/bad_images.txt gets the same messages, one a line.
    """
    all_problems = []
    for split in ("train", "val"):
        images = open_split(cfg, split)
        if isinstance(images, Shards):
            problems, labels = _scan_shards(images, split)
        else:
            problems, labels = _scan_images(cfg, images, split)
        for problem in problems:
            log.info("%s", problem)
        fewest, most = min(labels.values(), default=0), max(labels.values(), default=0)
        log.info(
            "%s: %d images good, %d bad; %d of %d classes, %d to %d images each",
            split,
            labels.total(),
            len(problems),
            len(labels),
            len(images.classes),
            fewest,
            most,
        )
        all_problems += problems
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    write_text("".join(f"{line}\n" for line in all_problems), output / "bad_images.txt")
    return all_problems


def _scan_images(cfg: CfgNode, images: LabelledImages, split: str) -> tuple[list[str], Counter]:
    """Messages on the images that cannot be decoded, and how many images of each label can."""
    workers = cfg.DATALOADER.NUM_WORKERS
    loader = DataLoader(_Problems(images), 64, num_workers=workers, collate_fn=list)
    results = [result for batch in progress(loader, desc=f"scan {split}") for result in batch]
    return [problem for _, problem in results if problem], Counter(label for label, problem in results if not problem)


def _scan_shards(shards: Shards, split: str) -> tuple[list[str], Counter]:
    problems, labels = [], Counter()
    for url in progress(shards.urls, desc=f"scan {split}", unit="shard"):
        try:
            for sample in shards.read([url]):
                try:
                    labels[shards.decode(sample)[1]] += 1
                except BadImage as e:
                    problems.append(str(e))
        except InputError as e:
            problems.append(str(e))
    return problems, labels
