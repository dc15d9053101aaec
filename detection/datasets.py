"""Names of data sets -> detectron2's catalogues.

DATASETS.TRAIN and DATASETS.TEST take, beside detectron2's names of COCO and VOC (`coco_2017_train`,
`voc_2007_trainval`, below $DETECTRON2_DATASETS or ./datasets):

    DIR:SPLIT            VOC layout, e.g. data/bccd:train; or a folder of COCO layout and one of its splits
    FILE.json            COCO JSON, the images beside it
    FILE.json:IMAGE_DIR  COCO JSON, the images in that folder
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.coco import load_coco
from detection.defects import Defects
from detection.voc import is_voc, load_voc, voc_splits

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin import _PREDEFINED_SPLITS_COCO


def data_splits(root: str) -> tuple[str, str]:
    """Names of the training and the test data in a folder of VOC or COCO layout.

    The test data is the split `test`, else `val`; training is `train`, or `trainval` where there is no `train`.

    Raises:
        InputError: the folder is missing or of neither layout.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"--data: {root} is no folder; check the path")
    splits = _coco_splits(folder) if not is_voc(folder) else {s: f"{root}:{s}" for s in voc_splits(folder)}
    train = splits.get("train") or splits.get("trainval")
    test = splits.get("test") or splits.get("val")
    if not (train and test):
        raise InputError(
            f"--data: {root} holds neither VOC layout (Annotations, JPEGImages, ImageSets/Main/train.txt and test.txt "
            "or val.txt) nor COCO layout (annotations/*train*.json and *test*.json or *val*.json)"
        )
    return train, test


def _coco_splits(folder: Path) -> dict[str, str]:
    """Split -> its annotation file, of annotations/instances_train2017.json, annotations/val.json and the like."""
    splits = {}
    for path in sorted((folder / "annotations").glob("*.json")):
        match = re.fullmatch(r"(?:instances_)?(train|trainval|val|test)(?:\d{4})?", path.stem)
        if match:
            splits[match.group(1)] = str(path)
    return splits


def register_datasets(cfg: CfgNode) -> list[str]:
    """Reads the data, registers it, and fills DATASETS.CLASSES and the number of classes.

    The classes are those of all training data together (of the test data where there is none), unless cfg has some.

    Returns:
        lines that say what was read and what was wrong with it.

    Raises:
        InputError: data is missing or broken (the message names the file), has a class that training lacks, or no box
            to train on.
    """
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST: empty; name data with --data DIR or --val DIR:SPLIT|FILE.json")
    sources = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    defects = {source: Defects() for source in sources}
    loaded = {source: _load(source, defects[source]) for source in sources}
    deciding = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    classes = tuple(cfg.DATASETS.CLASSES or dict.fromkeys(name for s in deciding for name in loaded[s][1]))
    lines = []
    for source, (records, _) in loaded.items():
        _number_classes(source, records, classes)
        if source in cfg.DATASETS.TRAIN and all(a["iscrowd"] for r in records for a in r["annotations"]):
            raise InputError(
                f"{source}: no usable box to train on; {'; '.join(defects[source].lines()) or 'none given'}"
            )
        _register(source, records, classes)
        lines.append(_summary(source, records, classes))
        lines += [f"{source}: {line}" for line in defects[source].lines()]
    cfg.DATASETS.CLASSES = classes
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = len(classes)
    return lines


def _number_classes(source: str, records: list[dict], classes: tuple[str, ...]) -> None:
    """Gives each annotation its `category_id`, the index of its name in `classes`."""
    ids = {name: i for i, name in enumerate(classes)}
    for annotation in (a for r in records for a in r["annotations"]):
        name = annotation.pop("category")
        if name not in ids:
            raise InputError(f"{source}: class {name!r} is none of the classes to learn, {list(classes)}")
        annotation["category_id"] = ids[name]


def _load(source: str, defects: Defects) -> tuple[list[dict], list[str]]:
    path, _, part = _builtin(source).partition(":")
    if path != source.partition(":")[0] and not Path(path).exists():
        raise InputError(
            f"{source}: {path} is missing; set DETECTRON2_DATASETS to the folder that holds detectron2's data sets, "
            "or name data of your own with --data DIR"
        )
    if path.endswith(".json"):
        return load_coco(Path(path), Path(part) if part else None, defects)
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{source}: no such data set, folder or .json file")
    if is_voc(root):
        if not part:
            raise InputError(f"{source}: name the split as {path}:SPLIT; there are {', '.join(voc_splits(root))}")
        return load_voc(root, part, defects)
    splits = _coco_splits(root)
    if part not in splits:
        raise InputError(
            f"{source}: {root} has neither VOC's folders nor annotations/*{part}*.json; "
            f"of COCO layout it has {', '.join(splits) or 'no split'}"
        )
    return load_coco(Path(splits[part]), None, defects)


def _builtin(source: str) -> str:
    """detectron2's names of COCO and VOC data as paths; anything else as it is."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    if source in _PREDEFINED_SPLITS_COCO["coco"]:
        images, annotations = _PREDEFINED_SPLITS_COCO["coco"][source]
        return f"{root / annotations}:{root / images}"
    voc = re.fullmatch(r"voc_(2007|2012)_(\w+)", source)
    return f"{root / f'VOC{voc.group(1)}'}:{voc.group(2)}" if voc else source


def _register(source: str, records: list[dict], classes: tuple[str, ...]) -> None:
    """Registers under the name that cfg has for it, in the place of detectron2's own COCO or VOC of that name."""
    if source in DatasetCatalog:
        DatasetCatalog.remove(source)
    if source in MetadataCatalog:
        MetadataCatalog.remove(source)
    DatasetCatalog.register(source, lambda: records)
    MetadataCatalog.get(source).thing_classes = list(classes)


def _summary(source: str, records: list[dict], classes: tuple[str, ...]) -> str:
    counts = Counter(a["category_id"] for r in records for a in r["annotations"])
    boxes = ", ".join(f"{name} {counts[i]}" for i, name in enumerate(classes))
    return f"{source}: {len(records)} images, {sum(counts.values())} boxes ({boxes})"


def slug(source: str) -> str:
    """A data set's name as part of a file's."""
    return re.sub(r"\W+", "_", source).strip("_")
