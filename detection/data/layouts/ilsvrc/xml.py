"""ILSVRC's annotations: XML files whose classes are WNIDs, such as n02084071, and whose pixels count from 0."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects, clean_box
from detection.data.layouts.files import read_xml
from detection.data.layouts.reader import box_annotation
from detection.data.layouts.voc import corners_of


def read_annotations(path: Path, size: tuple[int, int], defects: Defects) -> list[dict]:
    """The annotated objects of an image.

    Args:
        path: the XML file.
        size: width and height of the image in pixels.
        defects: gets the defects that were mended.

    Returns:
        detectron2's annotations with `category`, a WNID, in the place of an index. The corners in the file are the
        first and last pixel inside the box, counted from 0; the boxes are in continuous coordinates.

    Raises:
        InputError: the file is missing or broken.
    """
    annotations = []
    for element in read_xml(path).findall("object"):
        name = (element.findtext("name") or "").strip()
        x0, y0, x1, y1 = corners_of(element, path)
        if not name:
            raise InputError(f"{path}: an object has no <name>")
        box = clean_box([x0, y0, x1 + 1, y1 + 1], *size, defects, path.name)
        if box is not None:
            annotations.append(box_annotation(box, name))
    return annotations


def read_list(path: Path) -> list[list[str]]:
    """The words of each line of a list in ImageSets, such as [["ILSVRC2012_val_00000001", "1"], …].

    Raises:
        InputError: the list is missing, is no text, or is empty.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e}); take the lists of the ILSVRC download") from e
    if not lines:
        raise InputError(f"{path}: lists no image")
    return lines


def image_path(folder: Path, image_id: str) -> Path:
    """The image ID.JPEG below a folder of Data.

    Raises:
        InputError: there is no such image.
    """
    path = folder / f"{image_id}.JPEG"
    if not path.is_file():
        raise InputError(f"{path}: missing, but listed in ImageSets; add the image or take it off the list")
    return path
