"""Data sets -> detectron2's catalogues: classes agreed on, numbered and reported."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.data.defects import OTHER_CASE, Defects
from detection.data.readers import ReaderOptions, Source
from detection.data.sources import read_source

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

# Of data sets with more images together, only the paths are compared, not the content.
_COMPARED = 20_000


def resolve_datasets(cfg: CfgNode) -> list[str]:
    """Reads the data, registers it, and fills DATASETS.CLASSES and the number of classes.

    The classes are those of all training data together (of the test data where there is none), unless cfg has some.

    Returns:
        lines that say what was read and what was wrong with it.

    Raises:
        InputError: data is missing or broken (the message names the file), has a class that training lacks (a table
            shows which), no annotations, or no box to train on.
    """
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST: empty; name data with --data DIR or --val DIR:SPLIT|FILE.json")
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    defects = {name: Defects() for name in names}
    options = ReaderOptions(cfg.DATASETS.VOC_FIRST_PIXEL)
    sources = {name: read_source(name, defects[name], options) for name in names}
    for name in cfg.DATASETS.TRAIN:
        _check_trainable(name, sources[name], defects[name], cfg.DATASETS.TRAIN_ON_DIFFICULT)
    deciding = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    classes = tuple(cfg.DATASETS.CLASSES or _classes([sources[name] for name in deciding]))
    if not classes and cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork":
        raise InputError(f"{deciding[0]}: has no annotations, so no classes; give MODEL.WEIGHTS of a trained detector")
    lines = []
    # Where training data of several classes is joined, test data of some of them is no mistake.
    whole = bool(cfg.DATASETS.TRAIN) and all(len(sources[name].classes) == len(classes) for name in cfg.DATASETS.TRAIN)
    for name, source in sources.items():
        _check_classes(name, source, classes, strict=whole)
        _number_classes(source, classes, defects[name])
        _register(name, source, classes)
        lines.append(_summary(name, source, classes))
        lines += [f"{name}: {line}" for line in defects[name].lines()]
    lines += _shared_images(cfg)
    cfg.DATASETS.CLASSES = classes
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = len(classes)
    return lines


def _classes(sources: list[Source]) -> list[str]:
    """All names, in order; of those that differ in case alone the first."""
    found: dict[str, str] = {}
    for name in (name for source in sources for name in source.classes):
        found.setdefault(name.casefold(), name)
    return list(found.values())


def _check_classes(name: str, source: Source, classes: tuple[str, ...], *, strict: bool) -> None:
    """Raises InputError if the data has a class that is not to be learnt or, if `strict`, says that it lacks one."""
    known, given = {c.casefold() for c in classes}, {c.casefold(): c for c in source.classes}
    lacks = strict and source.declared and source.annotated and known - set(given)
    if set(given) <= known and not lacks:
        return
    rows = [(c, "yes", "yes" if c.casefold() in given else "no") for c in classes]
    rows += [(c, "no", "yes") for key, c in given.items() if key not in known]
    table = tabulate([r for r in rows if r[1] != r[2]], ["class", "to learn", "here"], tablefmt="simple")
    raise InputError(f"{name}: its classes are not those to learn\n{table}\nrename, remove or declare them there")


def _number_classes(source: Source, classes: tuple[str, ...], defects: Defects) -> None:
    """Gives each annotation its `category_id`, the index of its name in `classes`."""
    ids = {name.casefold(): i for i, name in enumerate(classes)}
    for record in source.records:
        for annotation in record.get("annotations", ()):
            name = annotation.pop("category")
            annotation["category_id"] = ids[name.casefold()]
            if classes[annotation["category_id"]] != name:
                defects.note(OTHER_CASE, f"{name} in {Path(record['file_name']).name}")


def is_trained_on(annotation: dict, difficult: bool) -> bool:
    """Whether it is an object that training uses.

    Args:
        difficult: DATASETS.TRAIN_ON_DIFFICULT.
    """
    return not annotation["iscrowd"] and (difficult or not annotation.get("difficult"))


def _check_trainable(name: str, source: Source, defects: Defects, difficult: bool) -> None:
    if not source.annotated:
        raise InputError(f"{name}: has no annotations to train on")
    if not any(is_trained_on(a, difficult) for r in source.records for a in r["annotations"]):
        raise InputError(f"{name}: no usable box to train on; {'; '.join(defects.lines()) or 'none given'}")


def _register(name: str, source: Source, classes: tuple[str, ...]) -> None:
    """Registers under the name that cfg has for it, in the place of detectron2's own COCO or VOC of that name."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: source.records)
    metadata = MetadataCatalog.get(name)
    metadata.thing_classes = list(classes)
    metadata.annotated = source.annotated
    if source.category_ids and set(classes) <= set(source.category_ids):  # what COCO's server knows them by
        metadata.thing_dataset_id_to_contiguous_id = {source.category_ids[c]: i for i, c in enumerate(classes)}


def _summary(name: str, source: Source, classes: tuple[str, ...]) -> str:
    if not source.annotated:
        return f"{name}: {len(source.records)} images without annotations, to predict on"
    counts = Counter(a["category_id"] for r in source.records for a in r["annotations"])
    boxes = ", ".join(f"{c} {counts[i]}" for i, c in enumerate(classes))
    return f"{name}: {len(source.records)} images, {sum(counts.values())} boxes ({boxes})"


def _shared_images(cfg: CfgNode) -> list[str]:
    """A warning for each test set that shares images with the training data: its AP says nothing of new images."""
    lines = []
    train = {path for name in cfg.DATASETS.TRAIN for path in _files(name)}
    for name in cfg.DATASETS.TEST:
        shared = train & _files(name)
        if not shared and len(train) + len(_files(name)) <= _COMPARED:
            shared = _same_content(train, _files(name))
        if shared:
            lines.append(
                f"warning: {name}: {len(shared)} of {len(_files(name))} images are in the training data too, such as "
                f"{min(shared)}; its AP says little of new images"
            )
    return lines


def _files(name: str) -> set[Path]:
    return {Path(r["file_name"]).resolve() for r in DatasetCatalog.get(name)}


def _same_content(train: set[Path], test: set[Path]) -> set[Path]:
    """Files of `test` whose bytes a file of `train` has too; only files of one size are read."""
    sizes = {path: path.stat().st_size for path in train | test if path.is_file()}
    possible = {sizes.get(p) for p in train} & {sizes.get(p) for p in test} - {None}
    digests = {p: hashlib.md5(p.read_bytes()).digest() for p in sizes if sizes[p] in possible}
    of_train = {digests[p] for p in train if p in digests}
    return {p for p in test if digests.get(p) in of_train and p in digests}


def slug(source: str) -> str:
    """A data set's name as part of a file's."""
    return re.sub(r"\W+", "_", source).strip("_")
