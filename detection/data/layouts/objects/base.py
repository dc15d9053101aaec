"""Annotation files that name their images, as tables and the JSON of annotation tools do -> dataset dicts."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from backbones.errors import InputError
from detection.data.layouts.defects import OTHER_ENDING, Defects, clean_box
from detection.data.layouts.files import IMAGE_SUFFIXES, all_files, nearest, role_of_path, with_suffix
from detection.data.layouts.images import check_absent, image_record, list_images
from detection.data.layouts.reader import Reader, ReaderOptions, Source, box_annotation

# Class of the objects if the annotations have no classes.
NO_CLASS = "object"
# Larger sides of an image are mistakes, and would make numbers that do not fit into the model's inputs.
_MAX_SIDE = 1_000_000


@dataclass
class Labels:
    """The objects of one image, as an annotation file has them.

    Attributes:
        file: the annotation file.
        place: line or entry of the image in the file, for messages, such as ":12".
        size: width and height of the image in pixels; None if the file does not state them.
        objects: (x0, y0, x1, y1) and the name of the class of each object.
        fractions: whether the coordinates are fractions of the image's width and height, not pixels.
    """

    file: Path
    place: str = ""
    size: tuple[int, int] | None = None
    objects: list[tuple[tuple[float, float, float, float], str]] = field(default_factory=list)
    fractions: bool = False

    @property
    def where(self) -> str:
        """The file, and the place in the file."""
        return f"{self.file}{self.place}"


class ObjectReader(Reader):
    """A reader of annotation files that name their images. Subclasses say which files those are, and read one file.

    The name of the data is FILE, FILE:IMAGES with the folder of the images, or DIR:SPLIT. All annotation files of a
    split are read together.
    """

    @abstractmethod
    def is_annotation(self, path: Path) -> bool:
        """Whether a file has this layout, judged by the first kilobytes of the file."""

    @abstractmethod
    def parse(self, path: Path, defects: Defects, finder: ImageFinder) -> tuple[dict[str, Labels], list[str]]:
        """Reads one annotation file.

        Args:
            path: a file for which `is_annotation` holds.
            defects: gets the objects that were left out.
            finder: finds the images, for layouts whose reading depends on the images' sizes.

        Returns:
            name or path of each image -> its labels, and the names of the classes if the data list them, else [].

        Raises:
            InputError: the file is broken; the message names the file and the line or entry.
        """

    def splits(self, folder: Path) -> dict[str, str]:
        return {role: f"{folder}:{role}" for role in self._files(folder)}

    def recognises(self, path: Path, part: str) -> bool:
        if path.is_dir():
            return bool(part) and part in self._files(path)
        return path.suffix.lower() in self.suffixes and path.is_file() and self.is_annotation(path)

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        if path.is_dir():
            files, finder = self._files(path)[part], ImageFinder(path, part)
        else:
            files, finder = [path], ImageFinder(Path(part) if part else path.parent, "")
        parsed = [self.parse(file, defects, finder) for file in files]
        classes = list(dict.fromkeys(name for _, names in parsed for name in names))
        records = _records(_join([labels for labels, _ in parsed]), finder, defects, options)
        used = {a["category"] for r in records for a in r["annotations"]}
        return Source(records, classes or sorted(used), declared=bool(classes))

    def _files(self, folder: Path) -> dict[str, list[Path]]:
        """Split -> the annotation files of the split.

        Files without the name of a split are of the split "all". Beside a split "train" they are left out: such a file
        has the objects of all splits together.
        """
        by_split = defaultdict(list)
        for path in with_suffix(all_files(folder), *self.suffixes):
            if self.is_annotation(path):
                by_split[role_of_path(path.relative_to(folder)) or "all"].append(path)
        if "train" in by_split:
            by_split.pop("all", None)
        return dict(by_split)


class ImageFinder:
    """Finds the image that an annotation file names, below a folder.

    An image may be named by its path on another machine. The image then is the file of that name; of several files of
    that name, the file with the most folders in common with the named path, then the file in a folder of the split,
    then the file nearest to the annotation file.

    Args:
        folder: the folder. Where it has no image at all, the folder above it is searched, as for csv/labels.csv beside
            images/.
        role: name of the split.
    """

    def __init__(self, folder: Path, role: str):
        self.folder = folder
        self._role = role
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        images = list_images(folder)
        beside = folder.resolve().parent / "images"
        if not images and beside.is_dir():
            self.folder, images = beside, list_images(beside)
        for path in images:
            self._by_name[path.name.casefold()].append(path)
            self._by_stem[path.stem.casefold()].append(path)

    def find(self, name: str, file: Path) -> Path | None:
        """The image file; None if there is no such file.

        Args:
            name: name or path of the image as the annotation file has it, with or without an ending.
            file: the annotation file.

        Raises:
            InputError: several files fit equally well.
        """
        named = PurePosixPath(name.replace("\\", "/").strip())
        if not named.name:
            return None
        direct = file.parent / named
        if not named.is_absolute() and named.suffix.lower() in IMAGE_SUFFIXES and direct.is_file():
            return direct
        candidates = self._by_name.get(named.name.casefold()) or self._by_stem.get(named.name.casefold())
        candidates = candidates or self._by_stem.get(named.stem.casefold(), [])
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        common = [_common_end(path, named) for path in candidates]
        candidates = [path for path, count in zip(candidates, common, strict=True) if count == max(common)]
        of_role = [path for path in candidates if role_of_path(path.relative_to(self.folder)) == self._role]
        # Relative paths: the folders above the data may have a name like "test", too.
        relative = {Path(os.path.relpath(path, self.folder)): path for path in of_role or candidates}
        candidates = [relative[path] for path in nearest(Path(os.path.relpath(file, self.folder)), list(relative))]
        if len(candidates) > 1:
            raise InputError(
                f"{file}: {name} may be {candidates[0]} or {candidates[1]}; write the image's path from {file.parent}"
            )
        return candidates[0]


def _common_end(path: Path, named: PurePosixPath) -> int:
    """How many folders, from the last on, two paths to a file have in common; the file's name counts, too."""
    pairs = zip(path.parts[::-1], named.parts[::-1], strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a.casefold() != b.casefold()), len(named.parts))


def _join(parsed: list[dict[str, Labels]]) -> dict[str, Labels]:
    """The labels of several annotation files together. An image may be in two files, if both have the same objects."""
    joined: dict[str, Labels] = {}
    for labels in parsed:
        for name, entry in labels.items():
            other = joined.setdefault(name, entry)
            if other is not entry and sorted(other.objects) != sorted(entry.objects):
                raise InputError(
                    f"{other.where} and {entry.where}: differ in the objects of {name}; remove one of the files, or "
                    "name the right one with --train FILE and --val FILE"
                )
    return joined


def _records(labels: dict[str, Labels], finder: ImageFinder, defects: Defects, options: ReaderOptions) -> list[dict]:
    """The dataset dicts of labelled images.

    Raises:
        InputError: images are absent and `options` do not allow that, or an image cannot be read.
    """
    records: dict[Path, dict] = {}
    absent = []
    for name, entry in labels.items():
        path = finder.find(name, entry.file)
        if path is None:
            absent.append(f"{name} of {entry.where}")
            continue
        if PurePosixPath(name.replace("\\", "/")).suffix.lower() in set(IMAGE_SUFFIXES) - {path.suffix.lower()}:
            defects.note(OTHER_ENDING, f"{name} in {entry.where}")
        if path not in records:
            records[path] = image_record(path, size=entry.size) | {"annotations": []}
        _add(records[path], entry, defects)
    check_absent(absent, len(labels), next(iter(labels.values())).file, defects, options)
    return list(records.values())


def _add(record: dict, entry: Labels, defects: Defects) -> None:
    """Adds the usable objects of an image to its dataset dict."""
    width, height = record["width"], record["height"]
    x, y = (width, height) if entry.fractions else (1, 1)
    for (x0, y0, x1, y1), category in entry.objects:
        box = clean_box([x0 * x, y0 * y, x1 * x, y1 * y], width, height, defects, entry.where)
        if box is not None:
            record["annotations"].append(box_annotation(box, category))


def checked_size(width: object, height: object) -> tuple[int, int] | None:
    """Width and height that an annotation file states; None if they are no size of an image."""
    try:
        size = int(float(width)), int(float(height))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return size if all(0 < side <= _MAX_SIDE for side in size) else None
