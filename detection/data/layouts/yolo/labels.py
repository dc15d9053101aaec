"""Finds the label files of images in YOLO's layouts, wherever they lie, and says where they were sought."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from detection.data.layouts.files import all_files, by_stem, head, nearest, same_role, stem, with_suffix

_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_LINE = re.compile(rf"\s*\d+(\.0+)?(\s+{_NUMBER}){{4,}}\s*")


class Classes(NamedTuple):
    """The names of the classes in the order of their indices, and the file that lists the names."""

    names: list[str]
    file: Path


def is_label_file(path: Path) -> bool:
    """Whether the first line of a text file is one of a label file: an index of a class, and four numbers or more."""
    return bool(_LINE.fullmatch(next((line for line in head(path).splitlines() if line.strip()), "")))


def _in_sibling_folder(image: Path) -> Path:
    """The last folder `images` in the image's path becomes `labels`, as in YOLO's own layout."""
    folders = list(image.parts)
    for i in range(len(folders) - 2, -1, -1):
        if folders[i].lower() == "images":
            folders[i] = {"images": "labels", "Images": "Labels"}.get(folders[i], "LABELS")
            break
    return Path(*folders)


# Where a label file may lie, as a path with the ending of the image, in the order of preference.
_PLACES: tuple[Callable[[Path], Path], ...] = (
    _in_sibling_folder,
    lambda image: image,
    lambda image: image.parent / "labels" / image.name,
    lambda image: image.parent.parent / "labels" / image.name,
    lambda image: image.parent.parent / "labels" / image.parent.name / image.name,
)


class LabelFiles:
    """The label files of the images of a split.

    All label files are taken from one place, the one that has most of them. So an image without a label file does not
    get the label file of an image of the same name in another split.

    Attributes:
        found: whether an image has a label file.
    """

    def __init__(self, images: Sequence[Path], root: Path):
        """Looks for the label files.

        Args:
            images: paths of the images.
            root: folder of the data, all of which is searched if no image has a label file in a usual place.
        """
        self._root = root
        self._named: dict[str, list[Path]] | None = None
        hits = [sum(place(image).with_suffix(".txt").is_file() for image in images) for place in _PLACES]
        self._place = _PLACES[hits.index(max(hits))]
        self.found = any(hits)
        if not self.found:
            self._named = by_stem(path for path in with_suffix(all_files(root), ".txt") if is_label_file(path))
            self.found = any(self.of(image).is_file() for image in images)

    def of(self, image: Path) -> Path:
        """The path of an image's label file, which is absent if the image has no objects."""
        path = self._place(image).with_suffix(".txt")
        if self._named is None:
            return path
        near = nearest(image, self._named.get(stem(image.name), []))
        of_role = [label for label in near if same_role(label.parent, image.parent)]
        return of_role[0] if len(of_role) == 1 else path

    def sought(self, image: Path) -> list[Path]:
        """The paths that were tried for an image's label file."""
        tried = dict.fromkeys(place(image).with_suffix(".txt") for place in _PLACES)
        return [*tried, self._root / "**" / image.with_suffix(".txt").name]

    def without_image(self, images: Sequence[Path]) -> list[Path]:
        """The label files beside those of the images that belong to no image.

        Args:
            images: all images of the data, whatever their split.
        """
        names = {stem(image.name) for image in images}
        folders = dict.fromkeys(label.parent for image in images if (label := self.of(image)).is_file())
        beside = [path for folder in folders for path in sorted(folder.glob("*.txt")) if stem(path.name) not in names]
        return [path for path in beside if path.is_file() and is_label_file(path)]
