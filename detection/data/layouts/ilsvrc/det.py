"""Reads ImageNet DET, the detection task of ILSVRC with 200 classes, as the download lies on disk.

    Annotations/DET/train/**/ID.xml, Annotations/DET/val/ID.xml
    Data/DET/train/**/ID.JPEG, Data/DET/val/ID.JPEG, Data/DET/test/ID.JPEG
    ImageSets/DET/train_1.txt … train_200.txt, val.txt, test.txt

The splits are train (the images that a list of a class marks with 1), val, val1 and val2 (val in halves, as R-CNN and
ResNet's appendix B train and test), and test, which has no annotations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.ilsvrc.xml import image_path, read_annotations, read_list
from detection.data.layouts.images import image_record
from detection.data.layouts.reader import Reader, ReaderOptions, Source

import numpy as np

_TRIALS = 100  # number of random halvings of val of which the most even one is taken
_SPLITS = ("train", "val", "val1", "val2", "test")


class ImageNetDETReader(Reader):
    """Reads ImageNet DET: Annotations/DET, Data/DET, ImageSets/DET."""

    name = "imagenet_det"
    layout = "ImageNet DET's layout (Annotations/DET, Data/DET, ImageSets/DET)"

    def splits(self, folder: Path) -> dict[str, str]:
        return {split: f"{folder}:{split}" for split in _SPLITS if _lists(folder, split)} if _is_det(folder) else {}

    def recognises(self, path: Path, part: str) -> bool:
        return bool(part) and _is_det(path)

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        if part not in _SPLITS or not _lists(path, part):
            raise InputError(f"{path}:{part}: no such split; there are {', '.join(self.splits(path)) or 'none'}")
        folder = "val" if part.startswith("val") else part
        records = []
        for image_id in _image_ids(path, part):
            image = image_path(path / "Data" / "DET" / folder, image_id)
            record = image_record(image, image_id)
            if part != "test":
                xml = path / "Annotations" / "DET" / folder / f"{image_id}.xml"
                record["annotations"] = read_annotations(xml, (record["width"], record["height"]), defects)
            records.append(record)
        if part in ("val1", "val2"):
            records = halves(records)[part == "val2"]
        classes = sorted({a["category"] for r in records for a in r.get("annotations", ())})
        return Source(records, classes, declared=False)


def _is_det(root: Path) -> bool:
    return all((root / folder / "DET").is_dir() for folder in ("Annotations", "Data", "ImageSets"))


def _lists(root: Path, split: str) -> list[Path]:
    """The lists of a split in ImageSets: one, or for train one for each class."""
    folder = root / "ImageSets" / "DET"
    if split == "train":
        numbered = {int(m[1]): p for p in folder.glob("train_*.txt") if (m := re.fullmatch(r"train_(\d+)", p.stem))}
        return [numbered[number] for number in sorted(numbered)]
    path = folder / f"{'val' if split.startswith('val') else split}.txt"
    return [path] if path.is_file() else []


def _image_ids(root: Path, split: str) -> list[str]:
    """Ids of the images of a split, each once. The lists of train mark an image without the class with -1 or 0."""
    lines = [line for path in _lists(root, split) for line in read_list(path)]
    return list(dict.fromkeys(line[0] for line in lines if split != "train" or line[1:] == ["1"]))


def halves(records: Sequence[dict], seed: int = 0) -> tuple[list[dict], list[dict]]:
    """Splits val into val1 and val2 so that each has about half of the objects of every class.

    R-CNN splits val into "approximately class-balanced" halves: of many candidates it takes the one with the least
    "maximum relative class imbalance" |a - b| / (a + b). Its list is not public.

    Args:
        records: dataset dicts with `annotations`.
        seed: of the random halvings. The same records and seed give the same halves.

    Returns:
        val1 and val2, each in the order of `records`.
    """
    classes = sorted({a["category"] for r in records for a in r["annotations"]})
    index = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(records), len(classes)))
    for row, record in zip(counts, records, strict=True):
        for annotation in record["annotations"]:
            row[index[annotation["category"]]] += 1
    total, random = np.maximum(counts.sum(0), 1), np.random.default_rng(seed)
    best, chosen = np.inf, np.zeros(len(records), bool)
    for _ in range(_TRIALS):
        first = random.permutation(len(records)) < (len(records) + 1) // 2
        imbalance = (np.abs(2 * counts[first].sum(0) - counts.sum(0)) / total).max(initial=0.0)
        if imbalance < best:
            best, chosen = imbalance, first
    pairs = list(zip(records, chosen, strict=True))
    return [r for r, first in pairs if first], [r for r, first in pairs if not first]
