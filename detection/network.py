"""Puts any network of the catalogue into the config of another: its builder, and where it needs them, its RoI heads."""

from __future__ import annotations

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.registry import spec_of_builder
from detection.config import default_config
from residet.config import merge_config

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY

# What a detector without pyramid takes from the config of a network with maps of the same names.
_OF_MAPS = (
    ("RESNETS", "OUT_FEATURES"),
    ("RPN", "IN_FEATURES"),
    ("ROI_HEADS", "NAME"),
    ("ROI_HEADS", "IN_FEATURES"),
    ("ROI_BOX_HEAD", "NAME"),
    ("ROI_BOX_HEAD", "POOLER_RESOLUTION"),
)
_EXAMPLES = ("faster_rcnn_resnet50", "faster_rcnn_vgg16")


def put_network(cfg: CfgNode, arch: str) -> None:
    """Gives a config another network, with the same kind of detector: C4, FPN or RetinaNet.

    The name of the network in OUTPUT_DIR changes as well, so that runs of several networks do not meet.

    Args:
        cfg: the config; changed.
        arch: name of the network.

    Raises:
        InputError: there is no such network, or it does not go with this kind of detector.
    """
    spec, builder = get_spec(arch), cfg.MODEL.BACKBONE.NAME
    before = spec_of_builder(builder)
    name = builder.replace(before.name, spec.name, 1)
    if name not in BACKBONE_REGISTRY:
        if "_fpn_" in builder and f"build_{spec.name}_backbone" in BACKBONE_REGISTRY:
            raise InputError(f"--arch: {spec.name} takes no feature pyramid; take a config without, {_EXAMPLES[1]}")
        raise InputError(
            f"--arch: {spec.name} is for images of {spec.input_size} px; a detector needs a network for "
            "ImageNet, and tools/complexity.py lists them"
        )
    model = cfg.MODEL
    model.BACKBONE.NAME = name
    cfg.OUTPUT_DIR = cfg.OUTPUT_DIR.replace(before.name, spec.name)
    if not spec.has_norms:
        model.RESNETS.NORM = "FrozenBN"
    if set(model.RESNETS.OUT_FEATURES) <= set(spec.channels):
        return
    for example in _EXAMPLES:
        source = default_config()
        merge_config(source, example, [])
        if set(source.MODEL.RESNETS.OUT_FEATURES) <= set(spec.channels):
            for group, key in _OF_MAPS:
                model[group][key] = source.MODEL[group][key]
            return
    raise InputError(
        f"--arch: {spec.name} has the maps {', '.join(spec.channels)}, the config asks for "
        f"{', '.join(model.RESNETS.OUT_FEATURES)}; write a config for the network"
    )


_KINDS = {"GeneralizedRCNN": "Faster R-CNN", "ProposalNetwork": "RPN"}


def in_words(cfg: CfgNode) -> str:
    """The detector of a config, for the log: its kind, its network, and what of that is frozen."""
    model = cfg.MODEL
    kind = _KINDS.get(model.META_ARCHITECTURE, model.META_ARCHITECTURE)
    pyramid = ", FPN" if "_fpn_" in model.BACKBONE.NAME else ""
    frozen, factor = model.BACKBONE.FREEZE_AT, cfg.SOLVER.BACKBONE_LR_FACTOR
    return (
        f"{kind} on {spec_of_builder(model.BACKBONE.NAME).name}{pyramid}, {model.RESNETS.NORM}, "
        f"{frozen or 'no'} stage{'' if frozen == 1 else 's'} frozen"
        + (f", backbone at {factor:g} times the learning rate" if factor != 1 else "")
    )
