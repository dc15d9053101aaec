"""cfg -> the plan of a localisation run: data read, classes numbered, classes of the validation images predicted."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.dense import Dense
from backbones.errors import InputError
from backbones.weights.load import load_state
from backbones.weights.read import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Weights,
    check_arch,
    read_weights,
    resolve_preprocessing,
)
from detection.data.layouts.defects import Defects
from detection.localisation.config import check_config
from detection.localisation.data import Picture, numbered, read_pixels, read_split, resize_short
from residet.config import check_engine, resolve_engine
from residet.plan import RunPlan, plan_start
from residet.progress import progress

import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torchvision.transforms.v2.functional import center_crop

log = logging.getLogger("residet")


def prepare(cfg: CfgNode, *, resume: bool) -> RunPlan:
    """Checks keys, then weights, then data, and fills in what follows from them. Freezes cfg.

    Args:
        cfg: the config. MODEL.WEIGHTS is a classifier.
        resume: the run goes on from the last checkpoint in OUTPUT_DIR.

    Raises:
        InputError: a key, the weights or the data cannot be used.
    """
    c = cfg.LOCALISATION
    check_config(cfg)
    check_engine(cfg)
    c.ARCH = get_spec(c.ARCH).name
    plan = plan_start(cfg, resume, c.ARCH)
    if plan.weights:
        check_arch(plan.weights, c.ARCH)
        if plan.weights.normalisation and plan.weights.mean is None:
            raise InputError(f"{plan.weights.path}: was trained on whitened images; take one with mean_std")
        resolve_preprocessing(cfg, plan.weights)
        if cfg.INPUT.FORMAT != "RGB":
            raise InputError(f"{plan.weights.path}: was trained on {cfg.INPUT.FORMAT}; take weights for RGB")
    plan.lines += resolve_engine(cfg)
    c.CLASSES = tuple(sorted({picture.wnid for picture in _read(c.DATA, "train")[0]}))
    for split in ("train", "val"):
        pictures, lines = _read(c.DATA, split)
        plan.lines += [f"{split}: {len(pictures)} images of {len(c.CLASSES)} classes", *lines]
    cfg.freeze()
    return plan


@functools.cache
def _read(root: str, split: str) -> tuple[list[Picture], list[str]]:
    if not (Path(root) / "ImageSets" / "CLS-LOC").is_dir():
        raise InputError(f"--data: {root!r} is no folder ILSVRC with Annotations, Data and ImageSets of CLS-LOC")
    defects = Defects()
    return read_split(Path(root), split, defects), defects.lines()


def open_split(cfg: CfgNode, split: str) -> list[Picture]:
    """The images of "train" or "val", with the index of their class. Read once.

    Raises:
        InputError: the data are missing or broken, or val has a class that train lacks.
    """
    c = cfg.LOCALISATION
    return numbered(_read(c.DATA, split)[0], c.CLASSES, f"{c.DATA}, {split}")


@torch.no_grad()
def predict_classes(cfg: CfgNode, file: str) -> dict[str, list[int]]:
    """The likeliest classes of each validation image, by a classifier.

    The classifier sees the whole images at TEST_SCALES (ResNet, appendix C: "dense"); the central crops where there are
    none, and where the classifier takes images of one size, as VGG does. Each process of a distributed run classifies a
    share of the images.

    Args:
        cfg: config of a localisation run.
        file: the classifier; "" predicts nothing.

    Returns:
        image id -> indices of the classes, the likeliest first; in the main process, of all images.

    Raises:
        InputError: the classifier does not know the classes of the data.
    """
    if not file:
        return {}
    c, weights = cfg.LOCALISATION, read_weights(file)
    columns = _columns(weights, tuple(c.CLASSES))
    spec = get_spec(weights.arch or c.ARCH)
    network = spec.build(len(columns[1])).eval().to(cfg.MODEL.DEVICE)
    load_state(network, weights.state, weights.path)
    mean, std = (torch.tensor(v, device=cfg.MODEL.DEVICE).view(3, 1, 1) for v in columns[2:])
    dense = Dense(c.TEST_SCALES, c.SIZE, {"antialias": True}) if c.TEST_SCALES and spec.fully_convolutional else None
    pictures, predicted = open_split(cfg, "val"), {}
    for index in progress(InferenceSampler(len(pictures)), desc="classify", unit="img", leave=False):
        picture = pictures[index]
        image = read_pixels(picture.path)
        if not dense:
            image = center_crop(resize_short(image, c.RESIZE)[0], [c.SIZE, c.SIZE])
        images = ((image.to(mean.device) - mean) / std)[None]
        scores = (dense(network, images) if dense else network(images))[0][columns[0]]
        predicted[picture.image_id] = scores.topk(min(c.PREDICTED, len(c.CLASSES))).indices.tolist()
    return {key: classes for share in comm.gather(predicted) for key, classes in share.items()}


def _columns(weights: Weights, classes: tuple[str, ...]) -> tuple[list[int], list, tuple, tuple]:
    """The classifier's output of each class of the data, all its outputs, and its mean and std."""
    outputs = len(weights.state.get("fc.bias", ()))
    known = weights.classes or (classes if outputs == len(classes) else ())
    if missing := sorted(set(classes) - set(known)):
        raise InputError(
            f"{weights.path}: does not know {len(missing)} of the {len(classes)} classes of the data, such as "
            f"{missing[0]}; take a classifier whose classes are the data's WNIDs"
        )
    return (
        [known.index(wnid) for wnid in classes],
        list(known),
        weights.mean or IMAGENET_MEAN,
        weights.std or IMAGENET_STD,
    )
