"""Labelled folders -> batches {"image": (N, 3, SIZE, SIZE) uint8 RGB, "label": (N,) int64}."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError

import torch
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes
from torchvision.transforms import v2


class LabelledFolder(ImageFolder):
    """torchvision's ImageFolder, with errors that name the file."""

    def __getitem__(self, index: int) -> dict:
        path = self.samples[index][0]
        try:
            image, label = super().__getitem__(index)
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as e:
            raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e
        return {"image": image, "label": label}


def split_folder(root: str, split: str) -> Path:
    """The folder of a split: `train`, or `val` (`test` where there is no `val`).

    Raises:
        InputError: DATA is not given or is no such folder.
    """
    if not root:
        raise InputError("--data: name the folder that holds train/CLASS/*.jpg and val/CLASS/*.jpg")
    if not Path(root).is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    for name in ("val", "test") if split == "val" else (split,):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    raise InputError(f"--data: {root} has no folder {split}/; it must hold train/CLASS/*.jpg and val/CLASS/*.jpg")


def open_split(cfg, split: str) -> LabelledFolder:
    """The images of a split.

    Raises:
        InputError: the folder is missing or holds no image in a class folder.
    """
    folder = split_folder(cfg.CLASSIFICATION.DATA, split)
    try:
        return LabelledFolder(folder, build_transform(cfg, train=split == "train"))
    except FileNotFoundError as e:
        raise InputError(f"{folder}: {e}; it must hold CLASS/*.jpg") from e


def class_names(root: str, *, eval_only: bool = False) -> tuple[str, ...]:
    """Names of the classes: the folders in val/, and the same in train/, which evaluation alone does not need.

    Raises:
        InputError: the two differ, or there are none.
    """
    names = {split: _class_folders(split_folder(root, split)) for split in ("val", "train")[: 1 if eval_only else 2]}
    val, train = names["val"], names.get("train", names["val"])
    if train != val:
        raise InputError(
            f"--data: classes of {root} differ: only in train {sorted(set(train) - set(val))}, "
            f"only in val {sorted(set(val) - set(train))}"
        )
    return tuple(val)


def _class_folders(folder: Path) -> list[str]:
    try:
        return find_classes(folder)[0]
    except FileNotFoundError as e:
        raise InputError(f"{folder}: holds no class folders; it must hold CLASS/*.jpg") from e


def build_transform(cfg, train: bool) -> v2.Transform:
    """PIL image -> (3, SIZE, SIZE) uint8. In training: crop and flip; in evaluation: the centre."""
    c = cfg.CLASSIFICATION
    if c.CROP not in ("scale", "pad"):
        raise InputError(f"CLASSIFICATION.CROP: {c.CROP!r} is neither 'scale' nor 'pad'")
    if train and c.CROP == "scale":
        steps = [v2.RandomResizedCrop(c.SIZE, scale=tuple(c.CROP_AREA), antialias=True)]
    elif train:
        steps = [v2.Resize((c.RESIZE, c.RESIZE), antialias=True), v2.RandomCrop(c.SIZE, padding=c.PAD)]
    else:
        steps = [v2.Resize(c.RESIZE, antialias=True), v2.CenterCrop(c.SIZE)]
    flip = [v2.RandomHorizontalFlip()] if train else []
    return v2.Compose([v2.PILToTensor(), *steps, *flip])


def build_train_loader(cfg) -> DataLoader:
    """Endless, shuffled; each process draws its share of SOLVER.IMS_PER_BATCH."""
    data = open_split(cfg, "train")
    batch = cfg.SOLVER.IMS_PER_BATCH
    if batch % comm.get_world_size():
        raise InputError(f"SOLVER.IMS_PER_BATCH: {batch} is no multiple of the {comm.get_world_size()} processes")
    return DataLoader(
        data,
        batch // comm.get_world_size(),
        sampler=TrainingSampler(len(data), seed=cfg.SEED if cfg.SEED >= 0 else None),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=True,
        worker_init_fn=_seed_worker,
        persistent_workers=cfg.DATALOADER.NUM_WORKERS > 0,
    )


def build_val_loader(cfg) -> DataLoader:
    """Every image of val once, split over the processes."""
    data = open_split(cfg, "val")
    return DataLoader(
        data,
        max(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), 1),
        sampler=InferenceSampler(len(data)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _seed_worker(worker: int) -> None:
    seed_all_rng(torch.initial_seed() % 2**31)
