"""Reads COCO's JSON, and writes it for evaluation and conversion."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_json
from detection.data.defects import Defects, clean_box
from detection.data.readers import Reader, ReaderOptions, Source

from detectron2.structures import BoxMode

# What a field may hold.
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
    """COCO's layout: annotations/*.json, the images beside them."""

    layout = "COCO layout (annotations/*train*.json and *val*.json or *test*.json)"
    suffixes = (".json",)

    def splits(self, folder: Path) -> dict[str, str]:
        """Splits of annotations/instances_train2017.json, annotations/val.json and the like."""
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
        images: folder of the images; None looks for the folder beside the file (see `find_images`).
        defects: is filled with what was mended.

    Returns:
        the data, with the classes in the order of their ids. Annotations have `area` and, where the file has it,
        `difficult`. Records are without annotations where the file has none (COCO's test sets).

    Raises:
        InputError: the file is broken, its ids do not match, a category or an image is missing; the message says which.
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
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such annotation file") from e
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: broken JSON ({e})") from e
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no object with `images`, `annotations` and `categories`")
    return content


def _entries(path: Path, content: dict, key: str, fields: tuple[str, ...]) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{path}: has no list `{key}`; it is no COCO detection annotation")
    for i, entry in enumerate(entries):
        for field in fields:
            if not isinstance(entry, dict) or field not in entry:
                raise InputError(f"{path}: {key}[{i}] lacks `{field}`")
            if not isinstance(entry[field], _TYPES[field]):
                raise InputError(f"{path}: {key}[{i}]: `{field}` cannot be {entry[field]!r}")
    return entries


def _add_annotation(path: Path, entry: dict, records: dict, names: dict, defects: Defects) -> None:
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
    area = entry.get("area")  # of the mask, where there is one: COCO's size classes go by it
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
    """The folder of the images of an annotation file, sought in the places that are usual.

    Args:
        path: the annotation file.
        first: name of the first image, which must lie in the folder.

    Raises:
        InputError: the image lies in none of the usual folders.
    """
    split = path.stem.removeprefix("instances_")
    up = path.parent.parent
    candidates = (path.parent, up / split, up / "images" / split, up / "images", path.parent / "images", up)
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise InputError(
        f"{path}: found its image {first} in none of {', '.join(map(str, candidates))}; "
        f"name the folder as {path.name}:DIR"
    )


def coco_truth(
    records: list[dict],
    classes: Sequence[str],
    category_ids: Sequence[int] | None = None,
    image_ids: Mapping[object, int] | None = None,
) -> dict:
    """The content of an annotation file that says what dataset dicts say.

    Args:
        records: dataset dicts whose annotations have a `category_id`, the index of their class.
        classes: names of the classes.
        category_ids: numbers of the classes in the file; indices of `classes` where left out.
        image_ids: numbers of the images in the file, by the images' own ids; the own ids where left out.
    """
    ids = range(len(classes)) if category_ids is None else category_ids
    number = (lambda record: record["image_id"]) if image_ids is None else (lambda r: image_ids[r["image_id"]])
    annotations = []
    for record in records:
        for a in record.get("annotations", ()):
            x0, y0, x1, y1 = a["bbox"]
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes id 0 for "no match"
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
    """Writes dataset dicts as an annotation file. Images are numbered from 1; their paths are relative to the file."""
    content = coco_truth(records, classes, None, {r["image_id"]: i for i, r in enumerate(records, 1)})
    for image in content["images"]:
        image["file_name"] = os.path.relpath(image["file_name"], path.parent)
    write_json(content, path, indent=None)
