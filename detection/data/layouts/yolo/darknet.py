"""Reads a folder of YOLO's label files without a data.yaml, as darknet, LabelImg, CVAT and Roboflow leave one.

The classes are the lines of obj.names, classes.txt, _darknet.labels or the like. The splits are those of obj.data, of
lists of images such as train.txt, or of the folders.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import (
    IMAGE_SUFFIXES,
    all_files,
    by_stem,
    head,
    nearest,
    read_text,
    role_of,
    role_of_path,
    stem,
    with_suffix,
)
from detection.data.layouts.reader import IncompleteDataError
from detection.data.layouts.yolo.labels import Classes, is_label_file

# Names of files that list the classes, one in a line.
_CLASS_FILES = ("*.names", "*.labels", "class*.txt", "labels.txt", "names.txt", "predefined_classes.txt")
# LabelImg has such a file of its own, with classes that nobody has labelled. The file counts if there is no other.
_PREDEFINED = "predefined_classes.txt"
_LOOKED_AT = 20


class DarknetFolder:
    """The files of a folder with label files and without a data.yaml.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root = root
        files = all_files(root)
        self._images = with_suffix(files, *IMAGE_SUFFIXES)
        self._named = by_stem(self._images)
        self._class_files = [path for path in files if _may_list_classes(path) and not is_label_file(path)]
        self._texts = [path for path in with_suffix(files, ".txt") if path not in self._class_files]
        data_files = "\n".join(map(head, with_suffix(files, ".data")))
        self._data = re.findall(r"^\s*(\w+)\s*=\s*(\S+)", data_files, re.MULTILINE)
        self._classes: dict[Path | None, Classes] = {}

    def splits(self) -> list[str]:
        """Names of the splits; ["all"] if nothing says splits, [] if there are no label files."""
        if not self._labelled_folders:
            return []
        return list(self._lists) or [role for role in self._by_role if role] or ["all"]

    def images(self, split: str) -> list[Path]:
        """Paths of the images of a split; those that a list names may be absent.

        Raises:
            InputError: the folder has no such split, or the split has no image.
        """
        if split in self._lists:
            lines = [line.strip() for line in read_text(self._lists[split]).splitlines() if line.strip()]
            images = [self._resolve(line) for line in lines]
        elif split == "all":
            images = [image for images in self._by_role.values() for image in images]
        else:
            images = self._by_role.get(split, [])
        if not images:
            raise InputError(f"{self.root}: has no image of a split {split}; its splits are {', '.join(self.splits())}")
        return images

    def is_list(self, split: str) -> bool:
        """Whether a file lists the images of the split."""
        return split in self._lists

    def classes(self, label: Path | None = None) -> Classes:
        """The classes of a label file.

        A list beside the label file counts, or else all lists together, which must agree. If there is an obj.data, only
        its list and those beside label files are meant: darknet comes with lists of other data.

        Args:
            label: a label file; None for none in particular.

        Raises:
            IncompleteDataError: there is no list of classes.
            InputError: several lists differ, so that a number may mean two classes.
        """
        folder = None if label is None else label.parent
        if folder not in self._classes:
            self._classes[folder] = self._find_classes(folder)
        return self._classes[folder]

    def _find_classes(self, folder: Path | None) -> Classes:
        """The classes of the label files in a folder; see `classes`."""
        labelled = {label.parent for label in self._texts if is_label_file(label)}
        named = {Path(value).name for key, value in self._data if key == "names"}
        of_data = [path for path in self._class_files if path.name in named and path.parent not in labelled]
        beside = [path for path in self._class_files if path.parent == folder]
        others = [path for path in self._class_files if path.parent in labelled or not of_data]
        files = [*beside, *of_data] if beside else [*of_data, *others]
        files = [path for path in files if path.name.lower() != _PREDEFINED] or files
        lists = {tuple(self._names_in(path)): path for path in reversed(files)}
        if not lists:
            raise IncompleteDataError(
                f"{self.root}: the label files number their classes, but no file names the classes; write "
                f"{self.root / 'classes.txt'} with the name of a class in each line"
            )
        if len(lists) > 1:
            first, second, *_ = sorted(lists.values())
            raise InputError(
                f"{self.root}: {first} and {second} list different classes, so that a class's number in "
                f"{folder or self.root} may mean either; take the wrong list out of the folder"
            )
        return Classes(*next((list(names), path) for names, path in lists.items()))

    @cached_property
    def _labelled_folders(self) -> set[Path]:
        """Folders of images that have a label file."""
        labels = [path for path in self._texts if stem(path.name) in self._named and is_label_file(path)]
        return {image.parent for label in labels for image in nearest(label, self._named[stem(label.name)])}

    @cached_property
    def _by_role(self) -> dict[str, list[Path]]:
        """Role of a folder, or "", -> the images of its labelled folders. If folders state roles, "" is left out."""
        roles: dict[str, list[Path]] = {}
        for image in self._images:
            if image.parent in self._labelled_folders:
                roles.setdefault(role_of_path(image.parent.relative_to(self.root)), []).append(image)
        return roles

    @cached_property
    def _lists(self) -> dict[str, Path]:
        """Name of a split -> the file that lists its images, from obj.data or by the name of the file."""
        lists = {}
        for key, value in self._data:
            named = [path for path in self._texts if path.name == Path(value).name and self._lists_images(path)]
            if role_of(key) and named:
                lists[role_of(key)] = nearest(self.root / value, named)[0]
        if not lists:
            for path in self._texts:
                if role_of(path.stem) and self._lists_images(path):
                    lists.setdefault(role_of(path.stem), path)
        return lists

    def _lists_images(self, path: Path) -> bool:
        """Whether a text file lists images of the folder, some of which may be absent."""
        lines = [line.strip() for line in head(path).splitlines()[:_LOOKED_AT] if line.strip()]
        return any(self._resolve(line).is_file() for line in lines) and not is_label_file(path)

    def _resolve(self, line: str) -> Path:
        """The image that a line of a list means. The line may be a path of another machine, or of darknet's folder."""
        path = self.root / line.replace("\\", "/").removeprefix("./")
        if path.is_file():
            return path
        near = nearest(path, [image for image in self._named.get(stem(path.name), []) if image.name == path.name])
        return near[0] if len(near) == 1 else path

    def _names_in(self, path: Path) -> list[str]:
        names = [line.strip() for line in read_text(path).rstrip().splitlines()]
        if "" in names:
            raise InputError(f"{path}:{names.index('') + 1}: an empty line in the list of classes; take it out")
        return names


def _may_list_classes(path: Path) -> bool:
    return any(fnmatch(path.name.lower(), pattern) for pattern in _CLASS_FILES)
