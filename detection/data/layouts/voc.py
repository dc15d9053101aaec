"""Reads PASCAL VOC's XML files, one for each image, with or without the lists of splits in ImageSets/Main."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import (
    EMPTY_OBJECT,
    FROM_ZERO,
    LISTED_TWICE,
    MISSING_DIFFICULT,
    NO_AREA,
    NO_ROLE,
    NO_XML,
    OTHER_XML,
    Defects,
    clean_box,
)
from detection.data.layouts.files import nearest, read_xml, stem
from detection.data.layouts.images import check_absent, image_record, image_size
from detection.data.layouts.reader import Reader, ReaderOptions, Source, box_annotation
from detection.data.layouts.voc_folder import VOCFolder


class VOCReader(Reader):
    """Reads PASCAL VOC's XML files: with ImageSets/Main/SPLIT.txt, in a folder for each split, or all together."""

    name = "voc"
    layout = "PASCAL VOC's XML files (an <annotation> for each image; splits from lists or from folders, if any)"

    def splits(self, folder: Path) -> dict[str, str]:
        return {split: f"{folder}:{name}" for split, name in VOCFolder(folder).splits().items()}

    def recognises(self, path: Path, part: str) -> bool:
        return bool(part) and path.is_dir() and bool(VOCFolder(path).xmls)

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        return load_voc(path, part, defects, options)


def load_voc(root: Path, split: str, defects: Defects, options: ReaderOptions | None = None) -> Source:
    """Reads one split of a folder with PASCAL VOC's XML files.

    Args:
        root: the folder.
        split: name of a list of images, such as "train" for ImageSets/Main/train.txt; or the role of a folder of XML
            files; or "all" for all XML files.
        defects: gets the defects that were mended.
        options: the config's settings for readers. A `first_pixel` of 1 says that the corners in the XML files are the
            first and last pixel inside the box, counted from 1, as in VOC's own files; 0 that the corners are
            continuous coordinates, from 0 to the image's width, as in the files of many tools.

    Returns:
        the data, with the classes of the boxes in alphabetical order. Boxes are in continuous coordinates: with a
        `first_pixel` of 1, a box of the whole image, 1, 1, W, H in the file, becomes 0, 0, W, H. Annotations have
        `difficult`, 0 or 1. If no image of a test split has an XML file, as in VOC 2012, the dataset dicts have no
        annotations.

    Raises:
        InputError: a file is missing or broken; the message names the file.
    """
    options = options or ReaderOptions()
    folder = VOCFolder(root)
    if split in folder.lists:
        listing = folder.lists[split]
        names = _listed(folder, listing, defects)
        xmls = {name: folder.xml_of(name, listing) for name in names}
        if split.startswith("test") and not any(xmls.values()):
            paths = {name: folder.image_of(name, listing) for name in names}
            check_absent([n for n in names if not paths[n]], len(names), listing, defects, options)
            return Source([image_record(path, n) for n, path in paths.items() if path], [])
        for name, xml in xmls.items():
            if xml is None:
                raise InputError(
                    f"{Path(name).name}.xml: missing, but listed in {listing}; add the file below {root}, or take "
                    f"{name} off the list"
                )
    else:
        chosen = folder.of_role(split)
        if not chosen:
            raise InputError(f"{root}: no such split: {split}; the folder has {', '.join(folder.splits()) or 'none'}")
        short = [stem(xml.name) for xml in chosen]
        unique = len(set(short)) == len(short)
        xmls = {
            name if unique else stem(str(xml.relative_to(root))): xml for name, xml in zip(short, chosen, strict=True)
        }
        if split != "all":
            for xml in folder.of_role(""):
                defects.note(NO_ROLE, str(xml))
    trees = {name: read_xml(xml) for name, xml in xmls.items()}
    for name in [name for name, tree in trees.items() if tree.tag != "annotation"]:
        defects.note(OTHER_XML, str(xmls[name]))
        del trees[name]
    images = {name: _image(folder, name, xmls[name], tree) for name, tree in trees.items()}
    absent = [xmls[name].with_suffix("").name for name in trees if not images[name]]
    check_absent([f"the image {name} of {name}.xml" for name in absent], len(trees), root, defects, options)
    if split not in folder.lists:
        found = [name for name in trees if images[name]]
        _note_unlabelled(folder, [images[name] for name in found], [xmls[name] for name in found], defects)
    records = [
        _read_record(name, images[name], tree, xmls[name], defects, options.first_pixel)
        for name, tree in trees.items()
        if images[name]
    ]
    classes = sorted({a["category"] for r in records for a in r["annotations"]})
    return Source(records, classes, declared=False)


def _listed(folder: VOCFolder, listing: Path, defects: Defects) -> list[str]:
    """The names of the images on a list, each once."""
    names = folder.names_on(listing)
    if not names:
        raise InputError(f"{listing}: lists no image")
    for name, times in Counter(names).items():
        if times > 1:
            defects.note(LISTED_TWICE, f"{listing.name}, {name}")
    return list(dict.fromkeys(names))


def _note_unlabelled(folder: VOCFolder, used: list[Path], xmls: list[Path], defects: Defects) -> None:
    """Counts the images in the folders of labelled images that have no XML file.

    Args:
        folder: the data.
        used: the images with an XML file.
        xmls: the XML files of `used`.
        defects: gets the images.
    """
    if [stem(image.name) for image in used] != [stem(xml.name) for xml in xmls]:
        return  # <filename> names the images, so that names of files do not say which images have an XML file
    parents = {image.parent for image in used}
    for image in folder.images:
        if image.parent in parents and not folder.xml_of(stem(image.name), image):
            defects.note(NO_XML, str(image))


def _image(folder: VOCFolder, name: str, xml: Path, tree: ET.Element) -> Path | None:
    """The image of an XML file: the image of the same name, or else the image that <filename> names; None if absent.

    Raises:
        InputError: several images have the name, and nothing says which image is meant.
    """
    filename = Path((tree.findtext("filename") or "").strip().replace("\\", "/")).name
    for candidates in (folder.images_named(stem(xml.name)), folder.images_named(stem(filename))):
        near = nearest(xml, candidates)
        near = [image for image in near if image.name == filename] if len(near) > 1 else near
        if len(near) == 1:
            return near[0]
        if candidates:
            raise InputError(
                f"{xml}: two images may be meant, {candidates[0]} and {candidates[1]}; move one of them elsewhere"
            )
    return None


def _read_record(image_id: str, image: Path, tree: ET.Element, path: Path, defects: Defects, first_pixel: int) -> dict:
    """The dataset dict of an image.

    Args:
        image_id: id of the image.
        image: path of the image.
        tree: the root of the image's XML file.
        path: path of the XML file, for messages and the report.
        defects: gets the defects of the boxes.
        first_pixel: see `load_voc`.
    """
    width, height = _size(tree, image)
    annotations = []
    for obj in tree.findall("object"):
        if not len(obj):
            defects.note(EMPTY_OBJECT, path.name)
            continue
        name = (obj.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{path}: an object has no <name>")
        if obj.find("difficult") is None:
            defects.note(MISSING_DIFFICULT, path.name)
        box = _box(obj, width, height, path, defects, first_pixel)
        if box is not None:
            difficult = int((obj.findtext("difficult") or "0").strip() == "1")
            annotations.append(box_annotation(box, name, difficult=difficult))
    return image_record(image, image_id, (width, height)) | {"annotations": annotations}


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
    x0, y0, x1, y1 = corners_of(obj, path)
    if x0 == x1 or y0 == y1:  # checked before the shift by `first_pixel`, which would make the box a pixel wide
        return defects.note(NO_AREA, path.name)
    if first_pixel and min(x0, y0) == 0:
        defects.note(FROM_ZERO, path.name)
    if x0 < x1 and y0 < y1:
        x0, y0 = x0 - first_pixel, y0 - first_pixel
    return clean_box([x0, y0, x1, y1], width, height, defects, path.name)


def corners_of(obj: ET.Element, path: Path) -> tuple[float, ...]:
    """The numbers xmin, ymin, xmax and ymax of an <object>, as the XML file `path` has them.

    Raises:
        InputError: the <object> has no <bndbox> with four numbers.
    """
    try:
        return tuple(float(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
    except (AttributeError, TypeError, ValueError) as e:
        raise InputError(f"{path}: an object's <bndbox> lacks a number in xmin, ymin, xmax or ymax") from e


def _size(tree: ET.Element, image: Path) -> tuple[int, int]:
    """Width and height in pixels, from the <size> of the XML or, without a usable <size>, from the image."""
    try:
        width, height = (int(float(tree.findtext(f"size/{k}"))) for k in ("width", "height"))
        if width > 0 and height > 0:
            return width, height
    except (TypeError, ValueError, OverflowError):
        pass
    return image_size(image)
