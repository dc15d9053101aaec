"""A detector from a config file or from a checkpoint alone."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.files import read_checkpoint
from backbones.weights.hub import locate
from backbones.weights.read import Weights, read_weights, resolve_preprocessing, weights_in
from detection.checkpoint import load_detector
from detection.config import default_config
from detection.schema.keys import check_keys
from residet.config import merge_config, merge_options, merge_values
from residet.launch import resolve_device
from residet.schema.files import parse_yaml

import torch
from detectron2 import modeling
from detectron2.config import CfgNode
from torch import nn

# What a detector is built from. The other keys say how it was trained, and on which data.
_MODEL_KEYS = ("MODEL", "INPUT", "TEST")


def model_config(cfg: CfgNode) -> str:
    """The part of a config that builds the detector, as YAML: what a checkpoint holds under the key `config`."""
    part = cfg.clone()
    part.defrost()
    for key in set(part) - set(_MODEL_KEYS):
        del part[key]
    part.MODEL.WEIGHTS, part.MODEL.DEVICE = "", "cpu"
    return part.dump()


def build_model(cfg: CfgNode) -> nn.Module:
    """detectron2's model of a config, on MODEL.DEVICE.

    Raises:
        InputError: the keys of MODEL contradict each other in a way that only building them shows.
    """
    try:
        model = modeling.build_model(cfg)
    except InputError:
        raise
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as e:
        reason = " ".join(str(e).split()) or type(e).__name__
        raise InputError(f"MODEL: these keys make no detector ({reason}); start from a file in configs/") from e
    return model.to(memory_format=torch.channels_last) if cfg.MODEL.CHANNELS_LAST else model


def build_detector(source: str | Path, weights: str | Path | None = None, options: list | None = None) -> nn.Module:
    """A detector on the machine's device, ready to detect: detectron2's model in evaluation mode.

        model = build_detector("output/detection/model_final.pth")
        model = build_detector("configs/faster_rcnn_resnet50_fpn.yaml", weights="resnet50.pth")
        model([{"image": image, "height": 480, "width": 640}])  # [{"instances": Instances}]

    Args:
        source: a checkpoint of `tools/train_net.py`, which says how its detector is built; or a config file. The
            checkpoint may be named as `weights` may.
        weights: with a config file, a classifier's or a detector's weights, a file or a name (docs/weights.md); without
            them, those of the config's MODEL.WEIGHTS, or random ones.
        options: KEY, VALUE, … pairs that override the config.

    Returns:
        the model. `model.cfg` is its config, `model.classes` the names of its classes, empty where not known, and
        `model.is_trained` whether its weights are those of a detector.
        Images are (3, H, W) uint8 with channels in the order `model.cfg.INPUT.FORMAT`.

    Raises:
        InputError: a file cannot be read, an option is unknown, or the weights or their channel order do not fit.
    """
    cfg = default_config()
    if Path(source).suffix in (".yaml", ".yml"):
        merge_config(cfg, str(source), options or [])
        start, arch = str(weights or cfg.MODEL.WEIGHTS), spec_of_builder(cfg.MODEL.BACKBONE.NAME).name
        parameters = read_weights(start, arch) if start else None
    else:
        if weights is not None:
            raise InputError(f"weights: {source} holds weights already; name a config file to build from others")
        located = locate(source)
        content = read_checkpoint(located.path)
        parameters = weights_in(content, located.name, located.metadata)
        merge_model_config(cfg, content, source)
        merge_options(cfg, options or [], "options")
    resolve_device(cfg)
    check_keys(cfg, eval_only=True)
    return _build(cfg, parameters, (options or [])[::2])


def build_trained_detector(
    source: str | Path, weights: str | Path | None = None, options: list | None = None
) -> nn.Module:
    """`build_detector`, for a use that a detector with random parameters has no sense for.

    Raises:
        InputError: as `build_detector`; or the weights are not those of a detector.
    """
    model = build_detector(source, weights, options)
    if not model.is_trained:
        raise InputError(
            f"{weights or source}: holds no trained detector; name a checkpoint of tools/train_net.py, or train a "
            "detector on these weights first"
        )
    return model


def merge_model_config(cfg: CfgNode, content: dict, source: str | Path) -> None:
    """Merges the config that a checkpoint holds.

    Args:
        cfg: the config; changed.
        content: the content of the checkpoint.
        source: the checkpoint, for messages.

    Raises:
        InputError: the checkpoint holds no config, or a damaged one.
    """
    text = content.get("config")
    if not isinstance(text, str):
        raise InputError(
            f"{source}: does not say how its detector is built; name its config, build_detector(CONFIG, weights=…)"
        )
    try:
        merge_values(cfg, parse_yaml(text, source), str(source))
    except InputError as e:
        raise InputError(f"{source}: its config cannot be read ({str(e).removeprefix(f'{source}: ')})") from e


def _build(cfg: CfgNode, weights: Weights | None, overridden_keys: list[str]) -> nn.Module:
    if weights:
        resolve_preprocessing(cfg, weights, overridden_keys)
        if weights.is_detector and weights.classes:
            cfg.DATASETS.CLASSES = weights.classes
            cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = len(weights.classes)
    model = build_model(cfg)
    if weights:
        load_detector(cfg, model, weights, for_training=not weights.is_detector)
    cfg.freeze()
    model.cfg, model.classes = cfg, tuple(cfg.DATASETS.CLASSES)
    model.is_trained = weights is not None and weights.is_detector
    return model.eval()
