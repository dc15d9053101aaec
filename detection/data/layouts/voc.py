"""Reads data in PASCAL VOC's layout: Annotations/*.xml, JPEGImages/*, ImageSets/Main/SPLIT.txt."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import FROM_ZERO, LISTED_TWICE, MISSING_DIFFICULT, NO_AREA, Defects, clean_box
from detection.data.layouts.files import IMAGE_SUFFIXES
from detection.data.layouts.images import image_size
from detection.data.layouts.reader import Reader, ReaderOptions, Source

from detectron2.structures import BoxMode


class VOCReader(Reader):
    """Reads PASCAL VOC's layout: Annotations/*.xml, JPEGImages/*, ImageSets/Main/SPLIT.txt."""

    name = "voc"
    layout = "VOC layout (Annotations, JPEGImages, ImageSets/Main/train.txt and val.txt or test.txt)"

    def splits(self, folder: Path) -> dict[str, str]:
        return {split: f"{folder}:{split}" for split in voc_splits(folder)} if is_voc(folder) else {}

    def recognises(self, path: Path, part: str) -> bool:
        return bool(part) and is_voc(path)

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_voc(path, part, defects, options.first_pixel)


def is_voc(root: Path) -> bool:
    """Whether a folder has VOC's layout, that is, the subfolders Annotations and JPEGImages."""
    return (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir()


def voc_splits(root: Path) -> list[str]:
    """Names of the splits in ImageSets/Main, sorted, without VOC's lists for a single class, such as cat_train."""
    names = sorted(p.stem for p in (root / "ImageSets" / "Main").glob("*.txt"))
    return [n for n in names if n.rsplit("_", 1)[-1] == n]


def load_voc(root: Path, split: str, defects: Defects, first_pixel: int = 1) -> Source:
    """Reads one split of a folder in VOC's layout.

    Args:
        root: the folder.
        split: name of a list in ImageSets/Main, such as "train".
        defects: gets the defects that were mended.
        first_pixel: 1 if the corners in the XML files are the first and last pixel inside the box, counted from 1, as
            in VOC's own files. 0 if the corners are continuous coordinates, from 0 to the image's width, as in the
            files of many tools.

    Returns:
        the data, with the classes of the boxes in alphabetical order. Boxes are in continuous coordinates: with a
        `first_pixel` of 1, a box of the whole image, 1, 1, W, H in the file, becomes 0, 0, W, H. Annotations have
        `difficult`, 0 or 1. If no image of a test split has an XML file, as in VOC 2012, the dataset dicts have no
        annotations.

    Raises:
        InputError: a file is missing or broken; the message names the file.
    """
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise InputError(f"{listing}: no such split; {root} has {', '.join(voc_splits(root)) or 'none'}")
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as e:
        raise InputError(f"{listing}: is no text in UTF-8 ({e}); save the file as UTF-8") from e
    ids = [line.split()[0] for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{listing}: lists no image")
    for image_id, times in Counter(ids).items():
        if times > 1:
            defects.note(LISTED_TWICE, f"{listing.name}, {image_id}")
    ids = list(dict.fromkeys(ids))
    if split.startswith("test") and not any((root / "Annotations" / f"{image_id}.xml").is_file() for image_id in ids):
        paths = {image_id: _image_path(root, image_id) for image_id in ids}
        return Source([_record(image_id, path, *image_size(path)) for image_id, path in paths.items()], [])
    records = [_read_record(root, image_id, defects, first_pixel) for image_id in ids]
    classes = sorted({a["category"] for r in records for a in r["annotations"]})
    return Source(records, classes, declared=False)


def _record(image_id: str, image: Path, width: int, height: int) -> dict:
    """A dataset dict without annotations."""
    return {"file_name": str(image), "image_id": image_id, "width": width, "height": height}


def _read_record(root: Path, image_id: str, defects: Defects, first_pixel: int) -> dict:
    """The dataset dict of an image, from its XML file. The arguments are those of `load_voc`."""
    path = root / "Annotations" / f"{image_id}.xml"
    try:
        tree = ET.parse(path).getroot()
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing, but listed in ImageSets; add it or take {image_id} off the list") from e
    except (ET.ParseError, ValueError, LookupError) as e:  # an unknown encoding raises the last two
        raise InputError(f"{path}: broken XML ({e})") from e
    image = _image_path(root, image_id)
    width, height = _size(tree, image)
    annotations = []
    for obj in tree.findall("object"):
        name = (obj.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{path}: an object has no <name>")
        if obj.find("difficult") is None:
            defects.note(MISSING_DIFFICULT, path.name)
        box = _box(obj, width, height, path, defects, first_pixel)
        if box is not None:
            difficult = int((obj.findtext("difficult") or "0").strip() == "1")
            annotations.append(
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category": name, "iscrowd": 0, "difficult": difficult}
            )
    return _record(image_id, image, width, height) | {"annotations": annotations}


def _box(
    obj: ET.Element, width: int, height: int, path: Path, defects: Defects, first_pixel: int
) -> list[float] | None:
    """The box of an <object>, in continuous coordinates and clipped to the image; None if the box must be dropped.

    Args:
        obj: the <object> element.
        width: width of the image in pixels.
        height: height of the image in pixels.
        path: the XML file, for messages and the report.
        defects: gets the defects of the box.
        first_pixel: see `load_voc`.
    """
    try:
        x0, y0, x1, y1 = (float(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
    except (AttributeError, TypeError, ValueError) as e:
        raise InputError(f"{path}: an object's <bndbox> lacks a number in xmin, ymin, xmax or ymax") from e
    if x0 == x1 or y0 == y1:  # checked before the shift by `first_pixel`, which would make the box a pixel wide
        return defects.note(NO_AREA, path.name)
    if first_pixel and min(x0, y0) == 0:
        defects.note(FROM_ZERO, path.name)
    if x0 < x1 and y0 < y1:
        x0, y0 = x0 - first_pixel, y0 - first_pixel
    return clean_box([x0, y0, x1, y1], width, height, defects, path.name)


def _image_path(root: Path, image_id: str) -> Path:
    """Path of an image in JPEGImages, whatever its ending."""
    for suffix in (*IMAGE_SUFFIXES, *(s.upper() for s in IMAGE_SUFFIXES)):
        path = root / "JPEGImages" / f"{image_id}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"{root / 'JPEGImages' / image_id}: no image of that name for its annotation")


def _size(tree: ET.Element, image: Path) -> tuple[int, int]:
    """Width and height in pixels, from the <size> of the XML or, without a usable <size>, from the image."""
    try:
        width, height = (int(float(tree.findtext(f"size/{k}"))) for k in ("width", "height"))
        if width > 0 and height > 0:
            return width, height
    except (TypeError, ValueError, OverflowError):
        pass
    return image_size(image)
