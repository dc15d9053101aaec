"""Writes a config for data of the user's own: short, with a comment on each key that says what was chosen and why."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

from backbones.registry import spec_of_builder
from backbones.weights.published import for_network
from detection.auto_config import resolve_schedule_and_anchors
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.layouts.sources import data_splits
from detection.network import put_network
from detection.schema.keys import OVERWRITTEN
from residet.config import merge_config

from detectron2.config import CfgNode

# The keys that a user looks for first, in the order of the file.
_COMMENTS = {
    "MODEL.BACKBONE.NAME": "The network.",
    "MODEL.BACKBONE.FREEZE_AT": "Stages that keep the weights that the run starts from: 1 the stem, 2 the stem and "
    "res2, …; 0 trains all.",
    "MODEL.ANCHOR_GENERATOR.SIZES": "Sides of the anchors in pixels of the resized image, a list for each map.",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "Height / width of the anchors.",
    "DATASETS.TRAIN": "",
    "DATASETS.TEST": "Without test data, each run splits a share of the training images off: DATASETS.VAL_SHARE.",
    "DATASETS.CLASSES": "The classes, in the order of the detector's outputs.",
    "DATASETS.SCHEDULE_IMAGES": "0: the schedule and the anchors here are for these data, and are not scaled again.",
    "INPUT.MIN_SIZE_TRAIN": "Short side of a training image in pixels, one of these at random.",
    "INPUT.MAX_SIZE_TRAIN": "Longest side that a training image may get.",
    "INPUT.MIN_SIZE_TEST": "Short side of a test image.",
    "SOLVER.IMS_PER_BATCH": "Images of an iteration, over all GPUs. For half as many, halve BASE_LR and double the "
    "iterations.",
    "SOLVER.BASE_LR": "Learning rate after the warm-up.",
    "SOLVER.MAX_ITER": "Iterations.",
    "SOLVER.STEPS": "Iterations after which the learning rate is multiplied by 0.1.",
    "SOLVER.WARMUP_ITERS": "Iterations in which the learning rate rises.",
    "SOLVER.CHECKPOINT_PERIOD": "Iterations between two checkpoints.",
    "OUTPUT_DIR": "Folder of the run.",
}
_HEADER = """\
A detector for {data}, written by `residet new`. To train it:

    {command}

A key that is not here has the value of the config that _BASE_ names. What was found and chosen:
"""


def starter_config(
    data: str, base: str, arch: str, file: Path, layout: str = "", skip_missing: bool = False
) -> tuple[str, list[str], str]:
    """The text of a config for some data.

    Args:
        data: folder of the data, in a layout that detection reads.
        base: the config to start from.
        arch: name of the network; "" for the one of `base`.
        file: where the text will be, for the command in the text and for OUTPUT_DIR.
        layout: name of the reader that reads the folder, such as "voc"; "" if the folder's content decides.
        skip_missing: leave out images whose file is absent, instead of refusing the data.

    Returns:
        the text, lines on what was read and chosen, and the command that trains with the config.

    Raises:
        InputError: the data, the config or the network cannot be used.
    """
    before = default_config()
    merge_config(before, base, [])
    cfg = before.clone()
    if arch:
        put_network(cfg, arch)
    cfg.DATASETS.FORMAT = layout or cfg.DATASETS.FORMAT
    cfg.DATASETS.SKIP_MISSING = skip_missing or cfg.DATASETS.SKIP_MISSING
    train, test = data_splits(str(Path(data).resolve()), cfg.DATASETS.FORMAT)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train,), (test or train,)
    lines = resolve_datasets(cfg)
    if not test:
        cfg.DATASETS.TEST = ()
        lines = [line for line in lines if not line.startswith("warning: ")]  # that the training images are tested
        share = f"{cfg.DATASETS.VAL_SHARE:.0%}"
        lines.append(f"no test data: a run tests on {share} of the images, and trains on the others")
    lines += resolve_schedule_and_anchors(cfg, (), cfg.SOLVER.IMS_PER_BATCH, anchors=True)
    cfg.DATASETS.SCHEDULE_IMAGES = 0
    cfg.OUTPUT_DIR = f"output/{file.stem}"
    chosen, given = _leaves(cfg), _leaves(before)
    changed = [key for key in chosen if chosen[key] != given[key] and key not in (*_COMMENTS, *OVERWRITTEN)]
    keys = sorted([*_COMMENTS, *changed], key=lambda key: list(cfg).index(key.split(".")[0]))
    command = f"residet train --config-file {shlex.quote(str(file))} --weights {_weights(cfg)}"
    header = [*_HEADER.format(data=Path(data).resolve(), command=command).splitlines(), ""]
    for line in lines:
        header += textwrap.wrap(line, 110, initial_indent="- ", subsequent_indent="  ")
    text = "\n".join(f"# {line}".rstrip() for line in header)
    base = str(Path(base).resolve()) if Path(base).is_file() else base
    text = f"{text}\n_BASE_: {json.dumps(base, ensure_ascii=False)}\n{_yaml({key: chosen[key] for key in keys})}"
    return text, lines, command


def _weights(cfg: CfgNode) -> str:
    """What to start from: published weights of the network, or a classifier of the user's own if there are none."""
    return "auto" if for_network(spec_of_builder(cfg.MODEL.BACKBONE.NAME).name) else "CLASSIFIER.pth"


def _leaves(cfg: CfgNode, prefix: str = "") -> dict[str, object]:
    """Key with dots -> value."""
    leaves: dict[str, object] = {}
    for key, value in cfg.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else {prefix + key: value}
    return leaves


def _yaml(leaves: dict[str, object]) -> str:
    """The keys as YAML, each behind its comment."""
    tree: dict = {}
    for key, value in leaves.items():
        *groups, name = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = (_COMMENTS.get(key, ""), value)
    return "\n".join(_lines(tree, "")) + "\n"


def _lines(tree: dict, indent: str) -> Iterator[str]:
    for name, content in tree.items():
        if isinstance(content, dict):
            yield f"{indent}{name}:"
            yield from _lines(content, indent + "  ")
        else:
            comment, value = content
            yield from (f"{indent}# {line}" for line in textwrap.wrap(comment, 110))
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}"
