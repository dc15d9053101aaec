"""Reads the lists of classes that lie beside annotation files: one name a line, or rows with a name and a number."""

from __future__ import annotations

import csv
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import read_text
from detection.data.layouts.objects.base import Labels


def rename_classes(labels: dict[str, Labels], file: Path) -> list[str]:
    """Replaces numbers and codes of classes by the names in the list of classes that lies beside an annotation file.

    Args:
        labels: labels of images; changed in place.
        file: the annotation file. The list lies in its folder or the folder above, and has "class" in its name, such as
            classes.csv of keras-retinanet, _classes.txt of Roboflow, class-descriptions-boxable.csv of Open Images.

    Returns:
        the names of the classes, in the order of their numbers; [] if there is no list of classes. Of a list with more
        names than the data use by code, only those that are used.

    Raises:
        InputError: the data have a class that the list lacks; the message names both files.
    """
    listing = find_class_list(file)
    if listing is None:
        return []
    rows = [[cell.strip() for cell in row] for row in csv.reader(read_text(listing).splitlines())]
    rows = [row for row in rows if row and row[0]]
    if not rows or max(map(len, rows)) > 2:
        return []
    used = {category for entry in labels.values() for _, category in entry.objects}
    for names in _mappings(rows):
        if used <= set(names):
            for entry in labels.values():
                entry.objects = [(box, names[category]) for box, category in entry.objects]
            is_code = any(not key.isdecimal() and key != name for key, name in names.items())
            return [names[key] for key in names if not is_code or key in used]
    absent = min(used - {cell for row in rows for cell in row}, default=min(used))
    raise InputError(f"{file}: its class {absent!r} is not in {listing}; add the class there, or remove that file")


def find_class_list(file: Path) -> Path | None:
    """The list of classes of an annotation file; None without one."""
    for folder in (file.parent, file.resolve().parent.parent):
        listings = (p for s in ("csv", "txt") for p in sorted(folder.glob(f"*class*.{s}")) if p.is_file() and p != file)
        listing = next(listings, None)
        if listing:
            return listing
    return None


def _mappings(rows: list[list[str]]) -> list[dict[str, str]]:
    """The ways in which annotations may name the classes of a list: value in the annotations -> name of the class.

    Args:
        rows: the rows of the list: name; name, number; number, name; or code, name.
    """
    if all(len(row) == 2 and row[1].isdecimal() for row in rows):
        rows = [[number, name] for name, number in rows]
    if all(len(row) == 2 and row[0].isdecimal() for row in rows):
        rows = sorted(rows, key=lambda row: int(row[0]))
        by_number = {str(int(number)): name for number, name in rows}
    elif all(len(row) == 2 for row in rows):
        return [dict(rows)]
    else:
        by_number = {str(i): row[0] for i, row in enumerate(rows)}
    return [{name: name for name in by_number.values()}, by_number]
