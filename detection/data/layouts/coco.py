"""Reads annotation files of COCO's JSON format, and writes such files for evaluation and conversion."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_json
from detection.data.layouts.defects import Defects, clean_box
from detection.data.layouts.reader import Reader, ReaderOptions, Source

from detectron2.structures import BoxMode

# Types that the value of a field may have.
_TYPES = {
    "id": (int,),
    "image_id": (int,),
    "category_id": (int,),
    "name": (str,),
    "file_name": (str,),
    "width": (int,),
    "height": (int,),
    "bbox": (list,),
}


class COCOReader(Reader):
    """Reads COCO's layout: annotations/*.json, with the images in one of the folders that `find_images` tries."""

    name = "coco"
    layout = "COCO layout (annotations/*train*.json and *val*.json or *test*.json)"
    suffixes = (".json",)

    def splits(self, folder: Path) -> dict[str, str]:
        """Name of a split -> annotation file, such as annotations/instances_train2017.json or annotations/val.json."""
        splits = {}
        for path in sorted((folder / "annotations").glob("*.json")):
            match = re.fullmatch(r"(?:instances_)?(train|trainval|val|test)(?:\d{4})?", path.stem)
            if match:
                splits[match.group(1)] = str(path)
        return splits

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_coco(path, Path(part) if part else None, defects)


def load_coco(path: Path, images: Path | None, defects: Defects) -> Source:
    """Reads an annotation file.

    Args:
        path: the JSON file.
        images: folder of the images; None tries the usual folders (see `find_images`).
        defects: gets the defects that were mended.

    Returns:
        the data, with the classes in the order of their ids. Annotations have `area`, in pixels, and `difficult`, 0 or
        1, from the file's `difficult` or `ignore`. If the file has no `annotations`, as COCO's test sets have none, the
        dataset dicts have no `annotations` either.

    Raises:
        InputError: the file is broken, an annotation names an image or a category that the file lacks, or an image file
            is missing; the message names the entry.
    """
    content = _read(path)
    names = {c["id"]: c["name"] for c in _entries(path, content, "categories", ("id", "name"))}
    if not names:
        raise InputError(f"{path}: `categories` is empty")
    entries = _entries(path, content, "images", ("id", "file_name", "width", "height"))
    if not entries:
        raise InputError(f"{path}: `images` is empty")
    folder = find_images(path, entries[0]["file_name"]) if images is None else images
    records = {}
    for entry in entries:
        if entry["width"] < 1 or entry["height"] < 1:
            raise InputError(f"{path}: image id {entry['id']} is {entry['width']}x{entry['height']} pixels")
        if entry["id"] in records:
            raise InputError(f"{path}: image id {entry['id']} is given twice")
        file = folder / entry["file_name"]
        if not file.is_file():
            raise InputError(f"{file}: missing, but named in {path}; name the images' folder as {path.name}:DIR")
        records[entry["id"]] = {
            "file_name": str(file),
            "image_id": entry["id"],
            "width": entry["width"],
            "height": entry["height"],
        }
    ids = {names[i]: i for i in sorted(names)}
    source = Source(list(records.values()), list(ids), category_ids=ids)
    if "annotations" not in content:
        return source
    for record in records.values():
        record["annotations"] = []
    for entry in _entries(path, content, "annotations", ("image_id", "category_id", "bbox")):
        _add_annotation(path, entry, records, names, defects)
    return source


def _read(path: Path) -> dict:
    """The content of an annotation file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such annotation file; check the path") from e
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: broken JSON ({e})") from e
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no object with `images`, `annotations` and `categories`")
    return content


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


def _add_annotation(path: Path, entry: dict, records: dict, names: dict, defects: Defects) -> None:
    """Adds an annotation to its image's dataset dict, unless its box is unusable.

    Args:
        path: the annotation file, for messages.
        entry: an entry of the file's `annotations`.
        records: id of an image -> its dataset dict.
        names: id of a category -> its name.
        defects: gets the defects of the box.
    """
    where = f"{path.name}, annotation {entry.get('id', '?')}"
    if entry["image_id"] not in records:
        raise InputError(f"{where}: image_id {entry['image_id']} is not in `images`")
    if entry["category_id"] not in names:
        raise InputError(f"{where}: category_id {entry['category_id']} is not in `categories`")
    record = records[entry["image_id"]]
    try:
        x, y, w, h = (float(v) for v in entry["bbox"])
    except (TypeError, ValueError, OverflowError) as e:
        raise InputError(f"{where}: bbox {entry['bbox']} is not [x, y, width, height]") from e
    box = clean_box([x, y, x + w, y + h], record["width"], record["height"], defects, where)
    if box is None:
        return
    # The area of the mask, if the object has a mask. COCO's evaluation takes this area for small, medium and large.
    area = entry.get("area")
    record["annotations"].append(
        {
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_ABS,
            "category": names[entry["category_id"]],
            "iscrowd": int(entry.get("iscrowd") in (1, True)),
            "area": float(area) if isinstance(area, int | float) else (box[2] - box[0]) * (box[3] - box[1]),
            "difficult": int(entry.get("difficult", entry.get("ignore")) in (1, True)),
        }
    )


def find_images(path: Path, first: str) -> Path:
    """The folder that holds the images of an annotation file: the first usual folder that has the file's first image.

    Args:
        path: the annotation file.
        first: file name of the first image.

    Raises:
        InputError: no usual folder has the image; the message lists the folders.
    """
    split = path.stem.removeprefix("instances_")
    up = path.parent.parent
    candidates = (path.parent, up / split, up / "images" / split, up / "images", path.parent / "images", up)
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise InputError(
        f"{path}: found the file's first image {first} in none of {', '.join(map(str, candidates))}; "
        f"name the folder of the images as {path.name}:DIR"
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
