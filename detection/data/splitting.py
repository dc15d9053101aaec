"""Splits data that nobody has split into training and test data, for a run that is given no test data.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, On the stratification of multi-label data): the class
with the fewest images left is shared out first. Groups of images of one source are shared out whole.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from backbones.errors import InputError
from detection.data.catalog import reader_options
from detection.data.layouts.defects import Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import read_source
from detection.data.layouts.split_list import SUFFIX, absolute, read_split_list, relative_image, write_split_list
from detection.data.source_groups import source_groups

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm

# In the place of a class, for images without objects, so that both parts get some.
_NO_OBJECT = None


def resolve_test_data(cfg: CfgNode, *, eval_only: bool, resume: bool, asked: bool) -> list[str]:
    """Splits the training data, if DATASETS.TEST is empty, and puts the names of both parts into the config.

    The lists of the images of both parts lie in OUTPUT_DIR/splits. An evaluation tests on the images that the run of
    its weights has held back, or on all images if that run has not split these data.

    Args:
        cfg: the config; OUTPUT_DIR is the folder of the run.
        eval_only: the run only evaluates.
        resume: the run goes on from an earlier one, with its lists.
        asked: the user has given --val-share, so that data with test data are a mistake.

    Returns:
        lines for the log.

    Raises:
        InputError: `asked`, and there is nothing to split; or the data cannot be split.
    """
    data = cfg.DATASETS
    if data.TEST or len(data.TRAIN) != 1:
        if asked:
            reason = (
                f"the test data are {', '.join(data.TEST)}" if data.TEST else "the training data are not one data set"
            )
            raise InputError(f"--val-share: {reason}, so nothing is split; leave --val-share out")
        return []
    (name,) = data.TRAIN
    if eval_only:
        held_back = _held_back(name, cfg.MODEL.WEIGHTS)
        data.TEST = (held_back or name,)
        if held_back:
            return [f"{name} has no test data: tested are the images that the run of the weights has held back"]
        return [f"{name} has no test data: all of its images are tested"]
    train, val, lines = split_data(
        name,
        Path(cfg.OUTPUT_DIR, "splits"),
        reader_options(cfg),
        share=data.VAL_SHARE,
        seed=data.VAL_SEED,
        keep=resume,
    )
    data.TRAIN, data.TEST = (train,), (val,)
    return lines


def _held_back(name: str, weights: str) -> str:
    """The list of the test images of the run that has left `weights`; "" if that run has not split the data `name`."""
    if not weights:
        return ""
    # The weights of a training in phases lie in RUN/PHASE, and its lists in RUN/splits.
    for folder in (Path(weights).parent, Path(weights).parent.parent):
        path = folder / "splits" / f"val{SUFFIX}"
        if path.is_file() and read_split_list(path)[0] == absolute(name):
            return str(path)
    return ""


@contextlib.contextmanager
def split_of_started_runs(cfg: CfgNode) -> Iterator[None]:
    """A context in which a run is prepared: if the run is refused, the lists that it has written are removed again.

    Args:
        cfg: the config; OUTPUT_DIR is the folder of the run.
    """
    paths = [Path(cfg.OUTPUT_DIR, "splits", f"{part}{SUFFIX}") for part in ("train", "val")]
    before = [path for path in paths if path.exists()]
    try:
        yield
    except InputError:
        if comm.is_main_process() and not before:
            for path in paths:
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there is none, or other files lie there
                paths[0].parent.rmdir()
        raise


def split_data(
    name: str, folder: Path, options: ReaderOptions, *, share: float, seed: int, keep: bool
) -> tuple[str, str, list[str]]:
    """Splits data into a part for the training and a part for the test, and writes the two lists of images.

    Every process of a distributed run calls the function, and computes the same parts.

    Args:
        name: name of the data.
        folder: folder for the lists train.split.json and val.split.json.
        options: the config's settings for readers.
        share: share of the images that are for the test, between 0 and 1.
        seed: seed of the choice.
        keep: whether to keep the lists that are in `folder`, as a run that resumes must.

    Returns:
        names of the training data and of the test data, and lines for the log.

    Raises:
        InputError: the data are broken or have no annotations, all images are of one source, or the lists to keep are
            of other data.
    """
    train, val = (folder / f"{part}{SUFFIX}" for part in ("train", "val"))
    if keep:
        for path in (train, val):
            if read_split_list(path)[0] != absolute(name):
                raise InputError(
                    f"{path}: is a part of {read_split_list(path)[0]}, not of {name}; give the run's own data"
                )
        return str(train), str(val), []
    if not 0 < share < 1:
        raise InputError(f"DATASETS.VAL_SHARE: {share} must be between 0 and 1, such as 0.2")
    source = read_source(name, Defects(), options)
    if not source.annotated:
        raise InputError(f"{name}: has no annotations to train on")
    groups, lines = source_groups([Path(r["file_name"]) for r in source.records], int(share * len(source.records) / 2))
    classes = [{a["category"] for a in r["annotations"]} or {_NO_OBJECT} for r in source.records]
    in_test = stratified(groups, classes, share, seed)
    if all(in_test) or not any(in_test):
        raise InputError(
            f"{name}: its {len(groups)} images are of one source, and cannot be split into training and test data; "
            "name test data with --val"
        )
    for path, part in ((train, False), (val, True)):
        chosen = zip(source.records, in_test, strict=True)
        images = {relative_image(record, name) for record, test in chosen if test == part}
        if comm.is_main_process():
            write_split_list(path, absolute(name), images, seed, share)
    comm.synchronize()
    count = sum(in_test)
    head = (
        f"{name} has no test data: {count} of its {len(in_test)} images ({count / len(in_test):.0%}) are for the test, "
        f"the others for training; listed in {folder} (--val-share {share}, DATASETS.VAL_SEED {seed})"
    )
    lines = [f"images of one source are kept together: {line}" for line in lines]
    return str(train), str(val), [head, *lines, *_one_sided(classes, in_test)]


def _one_sided(classes: list[set], in_test: list[bool]) -> list[str]:
    """A line for the log that names the classes that only one part has."""
    parts = [
        {c for image, test in zip(classes, in_test, strict=True) if test == part for c in image} for part in (0, 1)
    ]
    only = [sorted(parts[a] - parts[1 - a] - {_NO_OBJECT}) for a in (0, 1)]
    kinds = ("training", "test")
    return [
        f"warning: only in the {kind} data, as too few sources have them: {', '.join(names)}"
        for kind, names in zip(kinds, only, strict=True)
        if names
    ]


def stratified(groups: list[int], classes: list[set], share: float, seed: int) -> list[bool]:
    """Shares out groups of images to training and test, so that each class is in both parts in about the same share.

    A class that two groups or more have is in both parts, unless that takes another class out of a part.

    Args:
        groups: number of the group of each image, counted from 0.
        classes: the classes of each image.
        share: share of the images that are for the test.
        seed: seed of the order in which groups are shared out.

    Returns:
        for each image whether it is for the test.
    """
    count = max(groups) + 1
    sizes = Counter(groups)
    contents: list[Counter] = [Counter() for _ in range(count)]  # number of images of each class in a group
    for group, image in zip(groups, classes, strict=True):
        contents[group].update(image)
    holders: dict[object, list[int]] = {}
    for group in np.random.default_rng(seed).permutation(count).tolist():
        for c in contents[group]:
            holders.setdefault(c, []).append(group)
    totals = Counter(c for image in classes for c in image)
    shares = (1 - share, share)
    wanted = [{c: part * n for c, n in totals.items()} for part in shares]
    wanted_images = [part * len(groups) for part in shares]
    part_of: dict[int, int] = {}

    while left := {c: free for c, held in holders.items() if (free := [g for g in held if g not in part_of])}:
        rarest = min(left, key=lambda c: (len(left[c]), totals[c], str(c)))
        for i, group in enumerate(left[rarest]):
            lacking = [p for p in (0, 1) if not any(part_of.get(g) == p for g in holders[rarest])]
            must = lacking if len(lacking) >= len(left[rarest]) - i else (0, 1)
            part = max(must, key=lambda p: (wanted[p][rarest], wanted_images[p]))
            part_of[group] = part
            wanted_images[part] -= sizes[group]
            for c, n in contents[group].items():
                wanted[part][c] -= n
    _repair(part_of, holders, contents, sizes)
    return [part_of[group] == 1 for group in groups]


def _repair(part_of: dict[int, int], holders: dict, contents: list[Counter], sizes: Counter) -> None:
    """Moves groups so that classes of two groups or more are in both parts; `part_of` is changed in place."""
    for held in holders.values():
        for part in (0, 1):
            if len(held) < 2 or any(part_of[g] == part for g in held):
                continue
            for group in sorted(held, key=lambda g: sizes[g]):
                if all(any(part_of[g] != part for g in holders[k] if g != group) for k in contents[group]):
                    part_of[group] = part
                    break
