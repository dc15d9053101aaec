"""Finds the images of a data set that cannot be decoded, before a run does."""

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
    """For each image its label, and what is wrong with it or nothing."""

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
    """Decodes every image of train and val. Logs a count of each split and every bad image.

    Returns:
        what is wrong, a line an image; also in OUTPUT_DIR/bad_images.txt.
    """
    problems = []
    for split in ("train", "val"):
        images = open_split(cfg, split)
        found, labels = _scan_shards(images, split) if isinstance(images, Shards) else _scan_images(cfg, images, split)
        for line in found:
            log.info("%s", line)
        fewest, most = min(labels.values(), default=0), max(labels.values(), default=0)
        log.info(
            "%s: %d images good, %d bad; %d of %d classes, %d to %d images each",
            split,
            labels.total(),
            len(found),
            len(labels),
            len(images.classes),
            fewest,
            most,
        )
        problems += found
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    write_text("".join(f"{line}\n" for line in problems), output / "bad_images.txt")
    return problems


def _scan_images(cfg: CfgNode, images: LabelledImages, split: str) -> tuple[list[str], Counter]:
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
