"""Finds out which columns of a table have the images, the boxes and the classes: by the header, else by the content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import IMAGE_SUFFIXES

# Names of columns, in lower case, of letters and digits only. The first name that a table has counts.
_IMAGE = ("filename", "imagefilename", "imagefile", "imagepath", "filepath", "path", "file", "imagename", "imgname")
_IMAGE += ("image", "img", "imageid", "imgid", "frame")
_CLASS = ("class", "label", "classname", "labelname", "categoryname", "category", "objectclass", "object", "species")
_CLASS += ("type", "name", "classid", "labelid", "categoryid", "classes", "labels", "target")
_CORNERS = (
    ("xmin", "x1", "left", "bboxxmin", "bboxx1", "xtl", "minx", "topleftx", "xtopleft", "startx"),
    ("ymin", "y1", "top", "bboxymin", "bboxy1", "ytl", "miny", "toplefty", "ytopleft", "starty"),
    ("xmax", "x2", "right", "bboxxmax", "bboxx2", "xbr", "maxx", "bottomrightx", "xbottomright", "endx"),
    ("ymax", "y2", "bottom", "bboxymax", "bboxy2", "ybr", "maxy", "bottomrighty", "ybottomright", "endy"),
)
# Tables that number the corners from 0 have x1 and y1 for the second corner.
_FROM_ZERO = {"x0": "x1", "y0": "y1", "x1": "x2", "y1": "y2"}
_CORNER = (("x", "bboxx", "boxx", "xmin", "left"), ("y", "bboxy", "boxy", "ymin", "top"))
_CENTRE = (("xcenter", "cx", "xcentre", "centerx", "centrex"), ("ycenter", "cy", "ycentre", "centery", "centrey"))
_SIDES = (("w", "bboxwidth", "bboxw", "boxwidth", "width"), ("h", "bboxheight", "bboxh", "boxheight", "height"))
_SIZE = (("imagewidth", "imgwidth", "imwidth", "width"), ("imageheight", "imgheight", "imheight", "height"))
_TEXT = ("bbox", "boundingbox", "box")

_CORNERS_FORM, _SIDES_FORM, _CENTRE_FORM = "x1, y1, x2, y2", "x, y, width, height", "x centre, y centre, width, height"
# A reading of a table fits the table if at most this part of the rows has a box that is none, or is outside its image.
_MISFITS = 0.05
HEADER = "image,x1,y1,x2,y2,class"


@dataclass(frozen=True)
class Columns:
    """Where a table has what. Columns count from 0.

    Attributes:
        image: column with the name of the image.
        box: columns with the four numbers of the box; or one column with all four as text, such as "[3, 4, 20, 30]".
        form: what the four numbers are, in the order of `box`.
        category: column with the class; None if the table has no classes.
        size: columns with the width and the height of the image; () if the table does not have both.
    """

    image: int
    box: tuple[int, ...]
    form: str = _CORNERS_FORM
    category: int | None = None
    size: tuple[int, ...] = ()

    @property
    def is_corners(self) -> bool:
        """Whether the four numbers are x0, y0, x1 and y1."""
        return self.form == _CORNERS_FORM

    def numbers(self, row: Sequence[str]) -> list[float] | None:
        """The four numbers of a row's box; None if the row has no box, as the row of an image without objects has.

        Raises:
            ValueError: the row has a part of the box, or text in the place of a number.
            IndexError: the row is too short.
        """
        cells = [row[i] for i in self.box]
        if not any(cell.strip() for cell in cells):
            return None
        if len(cells) == 1:
            cells = re.split(r"[\s,;]+", cells[0].strip(" []()\t"))
        x, y, z, t = map(number, cells)
        return [x, y, z, t]

    def corners(self, numbers: Sequence[float]) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of a box, of the four numbers that a row has."""
        x, y, z, t = numbers
        if self.is_corners:
            return x, y, z, t
        if self.form == _CENTRE_FORM:
            x, y = x - z / 2, y - t / 2
        return x, y, x + z, y + t

    def described(self) -> str:
        """The reading for messages, with columns counted from 1."""
        return f"columns {', '.join(str(i + 1) for i in self.box)} as {self.form}"


_KERAS_RETINANET = Columns(image=0, box=(1, 2, 3, 4), category=5)


def number(text: str) -> float:
    """The number in a cell; a comma may stand for the decimal point."""
    try:
        return float(text)
    except ValueError:
        return float(text.replace(",", "."))


def is_number(text: str) -> bool:
    """Whether a cell has a number."""
    try:
        number(text)
    except ValueError:
        return False
    return True


def is_image(text: str) -> bool:
    """Whether a cell has the name of an image file."""
    return text.strip().lower().endswith(IMAGE_SUFFIXES)


def has_header(row: Sequence[str]) -> bool:
    """Whether the first row of a table has the names of the columns: no cell is a number or the name of an image."""
    return bool(row) and not any(is_number(cell) or is_image(cell) for cell in row if cell.strip())


def named_columns(header: Sequence[str]) -> tuple[Columns | None, list[str]]:
    """The columns that a header names.

    Returns:
        the columns, and []; or None, and what the header lacks, if the header names an image and a part of a box.
        None, and [], if the header names nothing of that kind.
    """
    names = [re.sub(r"[^0-9a-z]", "", name.lower()) for name in header]
    if "x0" in names and "x2" not in names:
        names = [_FROM_ZERO.get(name, name) for name in names]

    def column(choices: Iterable[str]) -> int | None:
        return next((names.index(name) for name in choices if name in names), None)

    image, category = column(_IMAGE), column(_CLASS)
    if image is None:
        return None, []
    forms = ((_CORNERS, _CORNERS_FORM), ((*_CENTRE, *_SIDES), _CENTRE_FORM), ((*_CORNER, *_SIDES), _SIDES_FORM))
    for choices, form in forms:
        box = tuple(column(c) for c in choices)
        if None not in box:
            size = tuple(column(c) for c in _SIZE)
            size = () if None in size or set(size) & set(box) else size
            return Columns(image, box, form, category, size), []
    if (text := column(_TEXT)) is not None:
        size = tuple(column(c) for c in _SIZE)
        return Columns(image, (text,), "", category, () if None in size else size), []
    corners = [column(c) for c in _CORNERS]
    lacks = [choices[0] for choices, i in zip(_CORNERS, corners, strict=True) if i is None]
    some = any(i is not None for i in corners[::2]) and any(i is not None for i in corners[1::2])
    return None, lacks if some else []


def readings_by_content(rows: Sequence[Sequence[str]], sizes: Sequence[tuple[int, int] | None]) -> list[Columns]:
    """The ways to read a table without the names of its columns.

    Args:
        rows: some rows of the table, all of the same length.
        sizes: width and height of the image of each row; None where they are not known.

    Returns:
        the readings, the most usual first; [] if the rows have no column of names of images, or no four numbers.
    """
    columns = [[row[i].strip() for row in rows] for i in range(len(rows[0]))]
    image = max(range(len(columns)), key=lambda i: sum(map(is_image, columns[i])))
    if sum(map(is_image, columns[image])) < len(rows) / 2:
        return []
    cells = {i: [cell for cell in column if cell] for i, column in enumerate(columns) if i != image}
    numeric = [i for i, column in cells.items() if column and all(map(is_number, column))]
    text = [i for i, column in cells.items() if column and i not in numeric]
    size = tuple(_column_of_size(numeric, columns, sizes, axis) for axis in (0, 1))
    if None in size or len(numeric) < 6 or size[0] == size[1]:
        size = ()
    numeric = [i for i in numeric if i not in size]
    category = min(text, key=lambda i: len(set(cells[i])), default=None)
    readings = []
    for start, (order, form) in product(
        range(len(numeric) - 3),
        (((0, 1, 2, 3), _CORNERS_FORM), ((0, 2, 1, 3), _CORNERS_FORM), ((0, 1, 2, 3), _SIDES_FORM)),
    ):
        box = tuple(numeric[start + i] for i in order)
        whole = [i for i in numeric if i not in box and all(number(cell).is_integer() for cell in cells[i])]
        of_box = category if category is not None else whole[0] if len(whole) == 1 else None
        readings.append(Columns(image, box, form, of_box, size))
    return readings


def _column_of_size(
    numeric: Sequence[int], columns: Sequence[Sequence[str]], sizes: Sequence[tuple[int, int] | None], axis: int
) -> int | None:
    """The column that has the width (axis 0) or the height (axis 1) of the images in every row; None without one."""
    row_sizes = [(row, size[axis]) for row, size in enumerate(sizes) if size]

    def fits(cells: Sequence[str]) -> bool:
        return all(is_number(cells[row]) and number(cells[row]) == side for row, side in row_sizes)

    return next((i for i in numeric if row_sizes and fits(columns[i])), None)


def forms_of(columns: Columns) -> list[Columns]:
    """The ways to read the box of named columns: of x, y, w, h the centre may be meant, and a text may be anything."""
    if len(columns.box) == 1:
        return [replace(columns, form=form) for form in (_CORNERS_FORM, _SIDES_FORM)]
    forms = (_SIDES_FORM, _CENTRE_FORM) if columns.form == _SIDES_FORM else (columns.form,)
    return [replace(columns, form=form) for form in forms]


def best_reading(
    readings: Sequence[Columns],
    rows: Sequence[Sequence[str]],
    sizes: Sequence[tuple[float, float] | None],
    on_tie: Callable[[Columns, Columns], Columns],
) -> Columns | None:
    """The reading with the fewest rows whose box is none, or is outside its image.

    Args:
        readings: the readings to choose from.
        rows: some rows of the table.
        sizes: width and height of the image of each row, in the unit of the boxes; None where they are not known.
        on_tie: chooses of two readings that fit equally well, the more usual one first, or raises InputError.

    Returns:
        the reading; None if no reading fits.
    """
    scored = sorted(((_misfits(r, rows, sizes), i) for i, r in enumerate(readings)), key=lambda s: s)
    if not scored or scored[0][0] > _MISFITS * len(rows):
        return None
    best = readings[scored[0][1]]
    if len(scored) > 1 and scored[0][0] == scored[1][0]:
        return on_tie(best, readings[scored[1][1]])
    return best


def _misfits(columns: Columns, rows: Sequence[Sequence[str]], sizes: Sequence[tuple[float, float] | None]) -> int:
    """Number of rows whose box is no box, or lies more than a pixel outside its image."""
    count = 0
    for row, size in zip(rows, sizes, strict=True):
        try:
            numbers = columns.numbers(row)
        except (ValueError, IndexError):
            count += 1
            continue
        if numbers is None:
            continue
        x0, y0, x1, y1 = columns.corners(numbers)
        slack = 1 if size and max(size) > 1 else 0.01
        inside = size is None or (x1 <= size[0] + slack and y1 <= size[1] + slack)
        count += not (-slack <= x0 < x1 and -slack <= y0 < y1 and inside)
    return count


def ambiguous(path: Path, class_list: bool) -> Callable[[Columns, Columns], Columns]:
    """An `on_tie` that refuses to guess, but for keras-retinanet's columns beside a list of classes, which are usual.

    Args:
        path: the table.
        class_list: whether a list of classes lies beside the table.
    """

    def refuse(first: Columns, second: Columns) -> Columns:
        if class_list and first == _KERAS_RETINANET:
            return first
        raise InputError(
            f"{path}: has no names of columns, and its boxes can be read in two ways: {first.described()}, and "
            f"{second.described()}; write the names of the columns into the first line, such as {HEADER}"
        )

    return refuse
