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
from detection.data.layouts.yolo_labels import Classes, is_label_file

# Names of files that list the classes, one in a line, in the order of preference. predefined_classes.txt comes last:
# LabelImg has one of its own, with classes that nobody has labelled.
_CLASS_FILES = ("*.names", "*.labels", "classes.txt", "class*.txt", "labels.txt", "names.txt", "predefined_classes.txt")
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
        self._class_files = [path for path in files if _rank(path) is not None and not is_label_file(path)]
        self._texts = [path for path in with_suffix(files, ".txt") if path not in self._class_files]
        self._data_files = with_suffix(files, ".data")
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

        Args:
            label: a label file, whose classes are those of the nearest list: of its folder, or of a folder above. None
                for the only list there is.

        Raises:
            InputError: there is no list of classes, or nothing says which of several lists is meant.
        """
        folder = None if label is None else label.parent
        if folder not in self._classes:
            self._classes[folder] = self._find_classes(folder)
        return self._classes[folder]

    def _find_classes(self, folder: Path | None) -> Classes:
        """The classes of the label files in a folder; see `classes`."""
        folders = [] if folder is None else [folder.resolve(), *folder.resolve().parents]
        near = next(
            (files for f in folders if (files := [c for c in self._class_files if c.parent.resolve() == f])), None
        )
        files = near or self._class_files
        best = [path for path in files if _rank(path) == min(map(_rank, files))]
        lists = {tuple(self._names_in(path)): path for path in best}
        if not lists:
            raise InputError(
                f"{self.root}: the label files number their classes, but no file names the classes; write "
                f"{self.root / 'classes.txt'} with the name of a class in each line"
            )
        if len(lists) > 1:
            first, second, *_ = lists.values()
            raise InputError(
                f"{self.root}: {first} and {second} list different classes; put the right one beside the label files"
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
        for key, value in re.findall(r"^\s*(\w+)\s*=\s*(\S+)", "\n".join(map(head, self._data_files)), re.MULTILINE):
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


def _rank(path: Path) -> int | None:
    """Place of a file's name in the order of lists of classes; None for other names."""
    name = path.name.lower()
    return next((i for i, pattern in enumerate(_CLASS_FILES) if fnmatch(name, pattern)), None)
