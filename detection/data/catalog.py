"""Reads the data sets of a config, numbers their classes alike, and registers them in detectron2's catalogues.

After `resolve_datasets`, "registered data" means a name in DatasetCatalog and MetadataCatalog.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import OTHER_CASE, Defects
from detection.data.layouts.reader import ReaderOptions, Source
from detection.data.layouts.sources import read_source
from detection.data.source_groups import identical_files

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

# If the training data and a test set have more images together, only paths are compared, not the files' content.
_COMPARED = 20_000


def resolve_datasets(cfg: CfgNode) -> list[str]:
    """Reads and registers the data of DATASETS.TRAIN and DATASETS.TEST, and decides the classes of the detector.

    The classes are DATASETS.CLASSES if the config names some. Otherwise the classes are those of all training data
    together, or of all test data if there are no training data.

    Args:
        cfg: the config; gets DATASETS.CLASSES, and the number of classes of the RoI heads and of RetinaNet.

    Returns:
        lines for the log: what was read, which defects were mended, and a warning for each test set that shares images
        with the training data.

    Raises:
        InputError: DATASETS.TEST is empty, data are missing or broken (the message names the file), there are no
            classes, training data have no annotations or no box to train on, or a data set has other classes than the
            detector (a table shows the classes).
    """
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST: empty; name data with --data DIR or --val DIR:SPLIT|FILE.json")
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    defects = {name: Defects() for name in names}
    sources = {name: read_source(name, defects[name], reader_options(cfg)) for name in names}
    for name in cfg.DATASETS.TRAIN:
        _check_trainable(name, sources[name], defects[name], cfg.DATASETS.TRAIN_ON_DIFFICULT)
    deciding = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    classes = tuple(cfg.DATASETS.CLASSES or _classes([sources[name] for name in deciding]))
    if not classes and cfg.MODEL.META_ARCHITECTURE != "ProposalNetwork":
        raise InputError(
            f"{deciding[0]}: has no annotations, so no classes; put the annotations there or, to predict on the "
            "images, give MODEL.WEIGHTS of a trained detector"
        )
    layouts = {name: _layout(source) for name, source in sources.items()}
    lines = [
        f"read as {x}: {', '.join(n for n in layouts if layouts[n] == x)}" for x in dict.fromkeys(layouts.values())
    ]
    # A test set may lack classes if a training set lacks some, too, or if there is no training set.
    strict = bool(cfg.DATASETS.TRAIN) and all(len(sources[name].classes) == len(classes) for name in cfg.DATASETS.TRAIN)
    for name, source in sources.items():
        _check_classes(name, source, classes, strict=strict)
        _number_classes(source, classes, defects[name])
        _register(name, source, classes)
        lines.append(_summary(name, source, classes))
        lines += [f"{name}: {line}" for line in defects[name].lines()]
    lines += [f"warning: {name}: {line}" for name in cfg.DATASETS.TEST if (line := _without_truth(sources[name]))]
    lines += _shared_images(cfg)
    cfg.DATASETS.CLASSES = classes
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = len(classes)
    return lines


def reader_options(cfg: CfgNode) -> ReaderOptions:
    """The settings for readers that a config has."""
    return ReaderOptions(cfg.DATASETS.VOC_FIRST_PIXEL, cfg.DATASETS.FORMAT, cfg.DATASETS.SKIP_MISSING)


def _layout(source: Source) -> str:
    """How data were read, and which other reading would give the same boxes."""
    return f"{source.layout} (with the boxes of {', '.join(source.agrees)})" if source.agrees else source.layout


def _classes(sources: list[Source]) -> list[str]:
    """The names of all classes, in order. Of names that differ only in upper and lower case, the first is taken."""
    names: dict[str, str] = {}
    for name in (name for source in sources for name in source.classes):
        names.setdefault(name.casefold(), name)
    return list(names.values())


def _check_classes(name: str, source: Source, classes: tuple[str, ...], *, strict: bool) -> None:
    """Checks that a data set has the classes of the detector. Upper and lower case do not matter.

    Args:
        name: name of the data, for messages.
        source: the data.
        classes: names of the detector's classes.
        strict: whether annotated data that declare their classes must declare all classes of the detector.

    Raises:
        InputError: the data have a class that the detector lacks or, with `strict`, lack a class of the detector.
    """
    detector_keys = {c.casefold() for c in classes}
    data_classes = {c.casefold(): c for c in source.classes}
    declared = set(data_classes) | {c.casefold() for c in source.left_out}
    lacks = strict and source.declared and source.annotated and detector_keys - declared
    if set(data_classes) <= detector_keys and not lacks:
        return
    rows = [(c, "yes", "yes" if c.casefold() in data_classes else "no") for c in classes]
    rows += [(c, "no", "yes") for key, c in data_classes.items() if key not in detector_keys]
    table = tabulate([r for r in rows if r[1] != r[2]], ["class", "to learn", "in the data"], tablefmt="simple")
    raise InputError(
        f"{name}: its classes are not those to learn\n{table}\nrename, remove or declare these classes in the data"
    )


def _number_classes(source: Source, classes: tuple[str, ...], defects: Defects) -> None:
    """Replaces each annotation's `category`, the name of its class, by `category_id`, the index in `classes`.

    Args:
        source: the data; changed in place.
        classes: names of the detector's classes.
        defects: gets the names that differ from `classes` in upper and lower case.
    """
    ids = {name.casefold(): i for i, name in enumerate(classes)}
    for record in source.records:
        for annotation in record.get("annotations", ()):
            name = annotation.pop("category")
            annotation["category_id"] = ids[name.casefold()]
            if classes[annotation["category_id"]] != name:
                defects.note(OTHER_CASE, f"{name} in {Path(record['file_name']).name}")


def is_trained_on(annotation: dict, difficult: bool) -> bool:
    """Whether training uses the object of an annotation: not a crowd, and not `difficult` unless the config says so.

    Args:
        annotation: an annotation of a dataset dict.
        difficult: the config's DATASETS.TRAIN_ON_DIFFICULT.
    """
    return not annotation["iscrowd"] and (difficult or not annotation.get("difficult"))


def _check_trainable(name: str, source: Source, defects: Defects, difficult: bool) -> None:
    """Raises InputError if training data have no annotations, or no box that training uses.

    Args:
        name: name of the data, for messages.
        source: the data.
        defects: the defects of the data, for messages.
        difficult: the config's DATASETS.TRAIN_ON_DIFFICULT.
    """
    if not source.annotated:
        raise InputError(f"{name}: has no annotations to train on")
    if not any(is_trained_on(a, difficult) for r in source.records for a in r["annotations"]):
        raise InputError(f"{name}: no usable box to train on; {'; '.join(defects.lines()) or 'the data give none'}")


def _register(name: str, source: Source, classes: tuple[str, ...]) -> None:
    """Puts data into DatasetCatalog and MetadataCatalog.

    Args:
        name: the config's name of the data. Data that are registered under this name, such as detectron2's own COCO and
            VOC, are replaced.
        source: the data.
        classes: names of the detector's classes.
    """
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: source.records)
    metadata = MetadataCatalog.get(name)
    metadata.thing_classes = list(classes)
    metadata.annotated = source.annotated
    if source.category_ids and set(classes) <= set(source.category_ids):  # ids of the classes for COCO's server
        metadata.thing_dataset_id_to_contiguous_id = {source.category_ids[c]: i for i, c in enumerate(classes)}


def _summary(name: str, source: Source, classes: tuple[str, ...]) -> str:
    """A line for the log with the number of images, and of boxes by class."""
    if not source.annotated:
        return f"{name}: {len(source.records)} images without annotations, to predict on"
    counts = Counter(a["category_id"] for r in source.records for a in r["annotations"])
    boxes = ", ".join(f"{c} {counts[i]}" for i, c in enumerate(classes))
    return f"{name}: {len(source.records)} images, {sum(counts.values())} boxes ({boxes})"


def _without_truth(source: Source) -> str:
    """What a test on data without boxes gives; "" for data with boxes."""
    if not source.annotated:
        return "has no annotations, so that a test gives detections and no AP; name annotated data with --val"
    if not any(record["annotations"] for record in source.records):
        return "none of its images has a box, so that AP is not defined; name data with boxes with --val"
    return ""


def _shared_images(cfg: CfgNode) -> list[str]:
    """A warning for each test set that shares images with the training data.

    AP on such a test set says little about new images.
    """
    lines = []
    train = {path for name in cfg.DATASETS.TRAIN for path in _files(name)}
    for name in cfg.DATASETS.TEST:
        test = _files(name)
        shared = train & test
        if not shared and len(train) + len(test) <= _COMPARED:
            shared = _same_content(train, test)
        if shared:
            lines.append(
                f"warning: {name}: {len(shared)} of {len(test)} images are in the training data too, such as "
                f"{min(shared)}; AP on this test set says little about new images"
            )
    return lines


def _files(name: str) -> set[str]:
    """Paths of the images of registered data, with links followed."""
    folders: dict[str, str] = {}
    files = set()
    for record in DatasetCatalog.get(name):
        path = record["file_name"]
        if os.path.islink(path):
            files.add(os.path.realpath(path))
            continue
        folder, file = os.path.split(path)
        if folder not in folders:  # to follow the links of each folder once saves most of the time
            folders[folder] = os.path.realpath(folder)
        files.add(os.path.join(folders[folder], file))
    return files


def _same_content(train: set[str], test: set[str]) -> set[str]:
    """Files of `test` with the same bytes as a file of `train`. Only files whose size occurs in both sets are read."""
    sizes = {path: os.stat(path).st_size for path in train | test if os.path.isfile(path)}
    possible = {sizes.get(p) for p in train} & {sizes.get(p) for p in test} - {None}
    paths = [path for path, size in sizes.items() if size in possible]
    same = [{paths[i] for i in indices} for indices in identical_files(list(map(Path, paths)))]
    return {path for files in same if files & train for path in files & test}


def slug(source: str) -> str:
    """A name of data as a part of a file name: every run of other characters than letters, digits and _ becomes _."""
    return re.sub(r"\W+", "_", source).strip("_")
