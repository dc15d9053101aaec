"""Reads tables with a box in each row (CSV and the like), and keras-yolo3's lines with all boxes of an image.

The columns are found by their names or, without a header, by their content; see columns.py. Rows with empty boxes are
images without objects. Boxes are continuous corners in pixels, or fractions of the image's width and height.

keras-yolo3's lines, which Roboflow writes as _annotations.txt: `image x1,y1,x2,y2,class x1,y1,x2,y2,class …`, where
`class` is the number of a line in _classes.txt, counted from 0.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import NOT_UTF8, Defects
from detection.data.layouts.files import head, read_text
from detection.data.layouts.images import image_size
from detection.data.layouts.objects.base import NO_CLASS, ImageFinder, Labels, ObjectReader, checked_size
from detection.data.layouts.objects.class_lists import find_class_list, rename_classes
from detection.data.layouts.objects.columns import (
    HEADER,
    Columns,
    ambiguous,
    best_reading,
    forms_of,
    has_header,
    is_number,
    named_columns,
    number,
    readings_by_content,
)

# Number of rows that decide how a table is read.
_SAMPLE = 1000
_DELIMITERS = ("\t", ";", "|", ",", " ")
_YOLO3_LINE = re.compile(r"(?P<image>\S.*?)(?P<boxes>(?:\s+-?[\d.]+(?:,-?[\d.]+){4})*)\s*")


class TableReader(ObjectReader):
    """Reads tables: CSV of keras-retinanet, TensorFlow, Roboflow and Open Images, and keras-yolo3's text files."""

    name = "table"
    layout = f"a table (.csv or .txt) with a box in each row, such as {HEADER}"
    suffixes = (".csv", ".tsv", ".txt")

    def is_annotation(self, path: Path) -> bool:
        text = head(path, 1 << 14)
        whole = text if len(text) < 1 << 13 else text.rpartition("\n")[0]
        if _is_yolo3(whole):
            return True
        try:
            rows = [row for _, row in _rows(whole, _delimiter(whole))]
        except csv.Error:
            return False
        if not rows:
            return False
        if has_header(rows[0]):
            columns, lacks = named_columns(rows[0])
            if columns or lacks:
                return True
            rows = rows[1:]
            # A table with a header may have any four numbers, which make a box of some x, y, width and height.
            best = _by_content(rows, [None] * len(rows), lambda first, second: first)
            return best is not None and best.is_corners
        return _by_content(rows, [None] * len(rows), lambda first, second: first) is not None

    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        text = _text(path, defects)
        labels = _parse_yolo3(path, text) if _is_yolo3(text[: 1 << 14]) else _parse_table(path, text, finder)
        return labels, rename_classes(labels, path)


def _text(path: Path, defects: Defects) -> str:
    """The text of a file, in UTF-8 or, as older programs write, in Latin-1."""
    try:
        return read_text(path)
    except InputError as e:
        if not isinstance(e.__cause__, UnicodeDecodeError):
            raise
    defects.note(NOT_UTF8, str(path))
    return path.read_text(encoding="latin-1")


def _delimiter(text: str) -> str:
    """The character between the cells of a table: the one that gives the most cells, as many in most rows."""
    lines = [line for line in text.splitlines()[:50] if line.strip()]

    def cells(delimiter: str) -> int:
        counts = sorted(len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t"))
        middle = counts[len(counts) // 2] if counts else 0
        return middle if counts.count(middle) >= 0.5 * len(counts) else 0

    return max(_DELIMITERS, key=cells)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the line, and the cells, of each row that is not empty.

    Raises:
        csv.Error: the text is no table.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t")
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _parse_table(path: Path, text: str, finder: ImageFinder) -> dict[str, Labels]:
    """The labels of a table.

    Args:
        path: the file, for messages.
        text: the content of the file.
        finder: finds the images, whose sizes tell how boxes are meant.
    """
    rows = _rows(text, _delimiter(text[: 1 << 16]))
    try:
        first = list(islice(rows, _SAMPLE))
        header = first.pop(0)[1] if has_header(first[0][1]) else []
        columns, fractions = _read_columns(path, header, [row for _, row in first], finder)
        return _labels(path, chain(first, rows), columns, fractions)
    except csv.Error as e:
        raise InputError(f"{path}: is no table ({e}); save the file as CSV again") from e


def _read_columns(path: Path, header: list[str], sample: list[list[str]], finder: ImageFinder) -> tuple[Columns, bool]:
    """The columns of a table, and whether its boxes are in fractions of the image's sides.

    Args:
        path: the table.
        header: the row with the names of the columns; [] if there is none.
        sample: some rows of the table.
        finder: finds the images, whose sizes tell how boxes are meant.
    """
    if not sample:
        raise InputError(f"{path}: has a header and no rows; export the annotations again")
    columns, lacks = named_columns(header)
    if lacks:
        raise InputError(f"{path}: has no column {', '.join(lacks)}; the header must name {HEADER}")
    image = columns.image if columns else None
    sizes = _sizes(sample, image, path, finder)
    if columns:
        fractions = _in_fractions(sample, columns)
        unit = [size and (1, 1) for size in sizes] if fractions else sizes
        columns = best_reading(forms_of(columns), sample, unit, lambda first, second: first) or forms_of(columns)[0]
    else:
        columns = _by_content(sample, sizes, ambiguous(path, find_class_list(path) is not None))
        if columns is None:
            raise InputError(
                f"{path}: its columns cannot be told apart; write their names into the first line, such as {HEADER}"
            )
        fractions = _in_fractions(sample, columns)
    return columns, fractions


def _by_content(
    rows: list[list[str]],
    sizes: list[tuple[int, int] | None],
    on_tie: Callable[[Columns, Columns], Columns],
) -> Columns | None:
    """The columns of a table without a header that names them; None if the rows have no boxes of images."""
    middle = sorted(map(len, rows))[len(rows) // 2] if rows else 0
    fitting = [(row, size) for row, size in zip(rows, sizes, strict=True) if len(row) == middle]
    if middle < 5 or len(fitting) < 0.9 * len(rows):
        return None
    rows, sizes = [row for row, _ in fitting], [size for _, size in fitting]
    readings = readings_by_content(rows, sizes)
    if readings and _in_fractions(rows, readings[0]):
        sizes = [size and (1, 1) for size in sizes]
    with_box = [i for i, row in enumerate(rows) if readings and any(row[j].strip() for j in readings[0].box)]
    if not with_box:
        return None
    return best_reading(readings, [rows[i] for i in with_box], [sizes[i] for i in with_box], on_tie)


def _sizes(rows: list[list[str]], image: int | None, path: Path, finder: ImageFinder) -> list[tuple[int, int] | None]:
    """Width and height of each row's image; None for an image that is absent or broken.

    Args:
        rows: rows of the table.
        image: column of the images' names; None tries every cell.
        path: the table.
        finder: finds the images.
    """
    read_sizes: dict[str, tuple[int, int] | None] = {}

    def size(name: str) -> tuple[int, int] | None:
        if name not in read_sizes:
            try:
                path_of_image = finder.find(name, path)
                read_sizes[name] = path_of_image and image_size(path_of_image)
            except InputError:
                read_sizes[name] = None
        return read_sizes[name]

    if image is not None:
        return [size(row[image]) if image < len(row) else None for row in rows]
    return [next((s for cell in row if not is_number(cell) and (s := size(cell))), None) for row in rows]


def _in_fractions(rows: list[list[str]], columns: Columns) -> bool:
    """Whether the numbers of the boxes are fractions of the image's sides: none is above 1, not all are whole."""
    whole = True
    for row in rows:
        try:
            numbers = columns.numbers(row) or []
        except (ValueError, IndexError):
            continue
        if any(value > 1.001 for value in numbers):
            return False
        whole = whole and all(value.is_integer() for value in numbers)
    return not whole


def _labels(path: Path, rows: Iterable[tuple[int, list[str]]], columns: Columns, fractions: bool) -> dict[str, Labels]:
    """The labels of a table whose columns are known."""
    labels: dict[str, Labels] = {}
    for line, row in rows:
        try:
            name, numbers = row[columns.image].strip(), columns.numbers(row)
            category = NO_CLASS if columns.category is None else row[columns.category].strip()
        except (ValueError, IndexError) as e:
            raise InputError(
                f"{path}:{line}: {','.join(row)[:200]!r} has no image, four numbers of a box and class where the other "
                "rows have them; correct the row"
            ) from e
        if not name:
            raise InputError(f"{path}:{line}: names no image; correct the row")
        entry = labels.get(name)
        if entry is None:
            size = checked_size(*(row[i] for i in columns.size)) if columns.size else None
            entry = labels[name] = Labels(path, f":{line}", size, fractions=fractions)
        if numbers is None:
            continue
        if not category:
            raise InputError(f"{path}:{line}: has a box without a class; correct the row")
        if fractions and max(numbers) > 2:
            raise InputError(
                f"{path}:{line}: has a box in pixels, other rows in fractions of the image; use one of them"
            )
        entry.objects.append((columns.corners(numbers), category))
    return labels


def _is_yolo3(text: str) -> bool:
    """Whether a text has keras-yolo3's lines; the last line may be cut off."""
    lines = [line for line in text.splitlines() if line.strip()][:20]
    matches = [match for line in lines[:-1] or lines if (match := _YOLO3_LINE.fullmatch(line))]
    return bool(lines) and len(matches) == len(lines[:-1] or lines) and any(match["boxes"] for match in matches)


def _parse_yolo3(path: Path, text: str) -> dict[str, Labels]:
    """The labels in keras-yolo3's lines."""
    labels: dict[str, Labels] = {}
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        name, boxes = (_YOLO3_LINE.fullmatch(content)).group("image", "boxes")
        entry = labels.setdefault(name, Labels(path, f":{line}"))
        try:
            if re.search(r"\s\S*,\S*,", name):
                raise ValueError
            for box in boxes.split():
                x0, y0, x1, y1, category = box.split(",")
                entry.objects.append(((number(x0), number(y0), number(x1), number(y1)), category))
        except ValueError as e:
            raise InputError(f"{path}:{line}: {content[:200]!r} is not `image x1,y1,x2,y2,class …`; correct it") from e
    return labels
