"""Reads annotation files of COCO's JSON format, and writes such files for evaluation and conversion."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_json
from detection.data.layouts.coco_folder import coco_splits, find_images, images_in
from detection.data.layouts.defects import PARENT_CLASS, SAME_NAME, Defects, clean_box
from detection.data.layouts.files import read_json
from detection.data.layouts.images import check_absent
from detection.data.layouts.reader import Reader, ReaderOptions, Source, box_annotation

import numpy as np

# More pixels on a side than any image has. Larger numbers in a file are errors that would overflow as floats.
_LARGEST = 10**6
# Types that the value of a field may have.
_TYPES = {
    "id": (int, str),
    "image_id": (int, str),
    "category_id": (int, str),
    "name": (str,),
    "file_name": (str,),
    "width": (int,),
    "height": (int,),
    "bbox": (list,),
}


class COCOReader(Reader):
    """Reads COCO's JSON files, with the images in one of the folders that `find_images` tries."""

    name = "coco"
    layout = "COCO's JSON files (`images`, `annotations` and `categories`; the split in the name of file or folder)"
    suffixes = (".json",)

    def splits(self, folder: Path) -> dict[str, str]:
        return {split: str(path) for split, path in coco_splits(folder).items()}

    def recognises(self, path: Path, part: str) -> bool:
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_coco(path, Path(part) if part else None, defects, options)


def load_coco(path: Path, images: Path | None, defects: Defects, options: ReaderOptions | None = None) -> Source:
    """Reads an annotation file.

    Args:
        path: the JSON file.
        images: folder of the images; None tries the usual folders (see `find_images`).
        defects: gets the defects that were mended.
        options: the config's settings for readers.

    Returns:
        the data, with the classes in the order of their ids. Annotations have `area`, in pixels, and `difficult`, 0 or
        1, from the file's `difficult` or `ignore`. If the file has no `annotations`, as COCO's test sets have none, the
        dataset dicts have no `annotations` either.

    Raises:
        InputError: the file is broken, an annotation names an image or a category that the file lacks, or an image file
            is missing; the message names the entry.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no object with `images`, `annotations` and `categories`")
    names = _names(path, content)
    entries = _entries(path, content, "images", ("id", "file_name", "width", "height"))
    if not entries:
        raise InputError(f"{path}: `images` is empty")
    records: dict[int | str, dict] = {}
    for entry in entries:
        if not (1 <= entry["width"] <= _LARGEST and 1 <= entry["height"] <= _LARGEST):
            raise InputError(f"{path}: image id {entry['id']} is {entry['width']}x{entry['height']} pixels")
        if entry["id"] in records:
            raise InputError(f"{path}: image id {entry['id']} is given twice")
        records[entry["id"]] = {
            "file_name": entry["file_name"],
            "image_id": entry["id"],
            "width": entry["width"],
            "height": entry["height"],
        }
    annotated = "annotations" in content
    annotations = _entries(path, content, "annotations", ("image_id", "category_id", "bbox")) if annotated else []
    if annotated:
        for record in records.values():
            record["annotations"] = []
    file = path.name
    for annotation in annotations:
        _add_annotation(file, annotation, records, names, defects)
    parents = _parents(content["categories"]) - {a["category_id"] for a in annotations} if annotated else set()
    ids: dict[str, int | str] = {}
    for i, name in names.items():
        if i in parents:
            defects.note(PARENT_CLASS, f"{name}, id {i} in {path.name}")
        elif ids.setdefault(name, i) != i:
            defects.note(SAME_NAME, f"{name}, ids {ids[name]} and {i} in {path.name}")
    left_out = tuple(names[i] for i in parents)
    kept = _with_images(path, images, list(records.values()), defects, options or ReaderOptions())
    return Source(kept, list(ids), category_ids=ids, left_out=left_out)


def _names(path: Path, content: dict) -> dict[int | str, str]:
    """Id of a category -> its name, in the order of the ids."""
    categories = _entries(path, content, "categories", ("id", "name"))
    if not categories:
        raise InputError(f"{path}: `categories` is empty")
    names: dict[int | str, str] = {}
    for category in categories:
        if category["id"] in names:
            raise InputError(
                f"{path}: category id {category['id']} is given twice, for {names[category['id']]!r} and "
                f"{category['name']!r}; give each category an id of its own"
            )
        names[category["id"]] = category["name"]
    return {i: names[i] for i in sorted(names, key=lambda i: (isinstance(i, str), i))}


def _parents(categories: list[dict]) -> set[int | str]:
    """Ids of the categories that are the `supercategory` of other categories, such as Roboflow's category 0."""
    return {
        parent["id"]
        for parent in categories
        for c in categories
        if c["id"] != parent["id"] and c.get("supercategory") == parent["name"]
    }


def _with_images(
    path: Path, folder: Path | None, records: list[dict], defects: Defects, options: ReaderOptions
) -> list[dict]:
    """The dataset dicts with the paths of their images in the place of the names; without the absent images.

    Args:
        path: the annotation file.
        folder: folder of the images; None searches for the images.
        records: the dataset dicts; changed in place.
        defects: gets the absent images.
        options: the config's settings for readers.
    """
    names = [record["file_name"] for record in records]
    images = find_images(path, names) if folder is None else images_in(folder, path, names)
    check_absent([name for name in names if images[name] is None], len(names), path, defects, options)
    for record in records:
        record["file_name"] = str(images[record["file_name"]])
    return [record for record, name in zip(records, names, strict=True) if images[name] is not None]


def _entries(path: Path, content: dict, key: str, fields: tuple[str, ...]) -> list[dict]:
    """A list of the annotation file, checked.

    Args:
        path: the file, for messages.
        content: the content of the file.
        key: key of the list in `content`.
        fields: fields that every entry must have, with a value of the type in `_TYPES`.
    """
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{path}: has no list `{key}`, so the file is no COCO detection annotation")
    for i, entry in enumerate(entries):
        for field in fields:
            if not isinstance(entry, dict) or field not in entry:
                raise InputError(f"{path}: {key}[{i}] lacks `{field}`")
            if not isinstance(entry[field], _TYPES[field]):
                raise InputError(f"{path}: {key}[{i}]: `{field}` cannot be {entry[field]!r}")
    return entries


def _add_annotation(file: str, entry: dict, records: dict, names: dict, defects: Defects) -> None:
    """Adds an annotation to its image's dataset dict, unless its box is unusable.

    Args:
        file: name of the annotation file, for messages.
        entry: an entry of the file's `annotations`.
        records: id of an image -> its dataset dict.
        names: id of a category -> its name.
        defects: gets the defects of the box.
    """
    where = f"{file}, annotation {entry.get('id', '?')}"
    if entry["image_id"] not in records:
        raise InputError(f"{where}: image_id {entry['image_id']} is not in `images`")
    if entry["category_id"] not in names:
        raise InputError(f"{where}: category_id {entry['category_id']} is not in `categories`")
    record = records[entry["image_id"]]
    try:
        x, y, w, h = map(float, entry["bbox"])
    except (TypeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: bbox {entry['bbox']} is not [x, y, width, height]") from e
    box = clean_box([x, y, x + w, y + h], record["width"], record["height"], defects, where)
    if box is None:
        return
    # The area of the mask, if the object has a mask. COCO's evaluation takes this area for small, medium and large.
    area = entry.get("area")
    has_area = isinstance(area, (int, float)) and abs(area) < _LARGEST**2
    record["annotations"].append(
        box_annotation(
            box,
            names[entry["category_id"]],
            iscrowd=int(entry.get("iscrowd") in (1, True)),
            area=float(area) if has_area else (box[2] - box[0]) * (box[3] - box[1]),
            difficult=int(entry.get("difficult", entry.get("ignore")) in (1, True)),
        )
    )


def coco_truth(
    records: list[dict],
    classes: Sequence[str],
    category_ids: Sequence[int] | None = None,
    image_ids: Mapping[object, int] | None = None,
) -> dict:
    """Turns dataset dicts into the content of a COCO annotation file.

    Args:
        records: dataset dicts. `category_id` of their annotations is an index into `classes`.
        classes: names of the classes.
        category_ids: for each class, the id that the file gets; None takes the index in `classes`.
        image_ids: `image_id` of a dataset dict -> the image's id in the file; None takes `image_id` itself.

    Returns:
        a dict with "info", "images", "categories" and "annotations".
    """
    ids = range(len(classes)) if category_ids is None else category_ids
    number = (lambda record: record["image_id"]) if image_ids is None else (lambda r: image_ids[r["image_id"]])
    annotations = []
    for record in records:
        for a in record.get("annotations", ()):
            x0, y0, x1, y1 = a["bbox"]
            annotations.append(
                {
                    "id": len(annotations) + 1,  # from 1: pycocotools takes an id of 0 for "no match"
                    "image_id": number(record),
                    "category_id": ids[a["category_id"]],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": a.get("area", (x1 - x0) * (y1 - y0)),
                    "iscrowd": a["iscrowd"],
                    "difficult": a.get("difficult", 0),
                }
            )
    return {
        "info": {},
        "images": [
            {"id": number(r), "file_name": r["file_name"], "width": r["width"], "height": r["height"]} for r in records
        ],
        "categories": [{"id": i, "name": name} for i, name in zip(ids, classes, strict=True)],
        "annotations": annotations,
    }


def coco_results(
    image_ids: Iterable[int | str], category_ids: Iterable[int], boxes: np.ndarray, scores: np.ndarray
) -> list[dict]:
    """Detections in COCO's result format, with boxes as x, y, width, height in double precision.

    Args:
        image_ids: id of each detection's image (N,).
        category_ids: id of each detection's class (N,).
        boxes: x0, y0, x1, y1 in pixels (N, 4).
        scores: from 0 to 1 (N,).
    """
    first, last = np.hsplit(boxes.astype(np.float64), 2)
    columns = image_ids, category_ids, np.hstack([first, last - first]).tolist(), scores.tolist()
    keys = ("image_id", "category_id", "bbox", "score")
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def write_coco(records: list[dict], classes: Sequence[str], path: Path) -> None:
    """Writes dataset dicts as a COCO annotation file.

    The ids of the images count from 1. The paths of the images are relative to the folder of the file.

    Args:
        records: dataset dicts. `category_id` of their annotations is an index into `classes`.
        classes: names of the classes.
        path: the file to write.
    """
    content = coco_truth(records, classes, None, {r["image_id"]: i for i, r in enumerate(records, 1)})
    for image in content["images"]:
        image["file_name"] = os.path.relpath(image["file_name"], path.parent)
    write_json(content, path, indent=None)
