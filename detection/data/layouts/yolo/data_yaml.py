"""Reads a data.yaml of YOLO: the names of the classes, and where the images of each split lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import all_files, head, read_text, role_of, role_of_path, with_suffix
from detection.data.layouts.images import list_images
from detection.data.layouts.yolo.labels import Classes

import yaml

# Keys of a split in a data.yaml -> role of the split.
_KEYS = ("train", "training", "val", "valid", "validate", "validation", "test", "testing")


class DataYAML:
    """The content of a data.yaml.

    `names` has the names of the classes. Each split has a folder of images, a .txt file that lists images, or a list of
    such folders and files. These paths start from the folder `path`, or from the folder of the data.yaml if the file
    has no `path` or that folder does not exist. Of the path of another machine, the tail that exists is taken.

    Attributes:
        file: the data.yaml.
        root: the folder that paths start from.
    """

    def __init__(self, file: Path):
        self.file = file
        self._content = _read(file)
        self.root = (file.parent / str(self._content.get("path") or "")).resolve()
        if not self.root.is_dir():  # `path` is often a folder of the machine on which the data.yaml was written
            self.root = file.parent.resolve()

    def classes(self, label: Path | None = None) -> Classes:
        """The classes. `label` does not matter: all label files have these.

        Raises:
            InputError: `names` is no list of names.
        """
        names = self._content.get("names")
        if isinstance(names, dict):
            by_number = {int(k): v for k, v in names.items() if str(k).isdecimal()}
            names = [by_number[i] for i in range(len(names))] if sorted(by_number) == [*range(len(names))] else None
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise InputError(f"{self.file}: `names` must list the classes, or number them from 0 on")
        return Classes(list(names), self.file)

    def splits(self) -> list[str]:
        """Roles of the splits in the file. A test split counts only if some of its images exist."""
        roles = [role_of(key) for key in _KEYS if self._content.get(key)]
        return [r for r in dict.fromkeys(roles) if r != "test" or any(map(self._images, self._sources(r)))]

    def images(self, split: str) -> list[Path]:
        """Paths of the images of a split, as the file names them.

        Raises:
            InputError: the file has no such split, or the split has no image.
        """
        self.classes()  # a file without classes fails here, whatever its splits
        sources = self._sources(split)
        if not sources:
            raise InputError(
                f"{self.file}: has no split {split!r}; its splits are {', '.join(self.splits()) or 'none'}"
            )
        images = []
        for source in sources:
            listed = self._images(source)
            if listed is None:
                raise InputError(
                    f"{self.file}: {self.root / source} is neither a folder of images nor a .txt file that lists "
                    f"images; correct `{split}`"
                )
            images += listed
        if not images:
            raise InputError(f"{self.file}: {split}: there is no image in {', '.join(sources)}; correct the path")
        return images

    def is_list(self, split: str) -> bool:
        """Whether a .txt file lists the images of the split."""
        return any(source.endswith(".txt") for source in self._sources(split))

    def _sources(self, split: str) -> list[str]:
        """The folders and lists of a split, as the file names them."""
        values = [self._content[key] for key in _KEYS if role_of(key) == split and self._content.get(key)]
        return [str(source) for value in values[:1] for source in (value if isinstance(value, list) else [value])]

    def _images(self, source: str) -> list[Path] | None:
        """Paths of the images of a folder or a list; None if there is neither."""
        path = self._existing(source)
        if path is None:
            return None
        if path.is_dir():
            return list_images(path)
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return [self._existing(line) or self.root / line.removeprefix("./") for line in lines]

    def _existing(self, source: str) -> Path | None:
        """The path of a folder, a list or an image that a data.yaml or a list names; None if absent.

        Paths of another machine, and Roboflow's paths with a "../" too many, lose their first folders until the rest
        exists. The folder that states the split must not be lost: else `train` and `val` would be one.
        """
        parts = Path(source.replace("\\", "/")).parts
        role = role_of_path(Path(source))
        for root in dict.fromkeys((self.root, self.file.parent.resolve())):
            for start in range(max(len(parts), 1)):  # "." has no parts
                tail = Path(*parts[start:])
                path = root / tail
                if (not role or role_of_path(tail) == role) and (path.is_dir() or path.is_file()):
                    return path
        return None


def find_yaml(root: Path) -> DataYAML | None:
    """The YAML file of a folder, or of its subfolders, that describes data of YOLO; None without such a file.

    Raises:
        InputError: several files describe different data; or no file does, and a broken file may do so.
    """
    described, broken = [], []
    for path in with_suffix(all_files(root), ".yaml", ".yml"):
        try:
            if data := _as_data(path, root):
                described.append(data)
        except InputError as e:
            broken.append(e)
    if broken and not described:
        raise broken[0]
    with_images = [d for d in described if any(d._images(s) for r in d.splits() for s in d._sources(r))]
    usable = with_images or described
    if len({str(_meaning(data)) for data in usable}) > 1:
        first, second, *_ = (data.file for data in usable)
        raise InputError(
            f"{root}: {first} and {second} describe different data of YOLO; choose with --train {first}:train --val "
            f"{first}:val"
        )
    return usable[0] if usable else None


def _meaning(data: DataYAML) -> tuple[object, Sequence[tuple]]:
    """The content of a data.yaml that matters: classes, and where the splits lie."""
    return data.classes().names, [(split, [data._existing(s) for s in data._sources(split)]) for split in data.splits()]


def _as_data(path: Path, root: Path) -> DataYAML | None:
    """The data that a YAML file describes; None if the file describes something else, or lies too deep."""
    if len(path.relative_to(root).parts) > 2 or not re.search(r"^\s*[\"']?names[\"']?\s*:", head(path, 1 << 20), re.M):
        return None
    data = DataYAML(path)
    return data if data.splits() else None


def _read(path: Path) -> dict:
    """The content of a YAML file; {} if the content is no mapping."""
    try:
        content = yaml.safe_load(read_text(path))
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(f"{path}: broken YAML ({' '.join(str(e).split())})") from e
    return content if isinstance(content, dict) else {}
