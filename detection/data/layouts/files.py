"""Lists the files of a user's folder, reads text, JSON and XML from them, and takes the role of a split from a name."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from time import time_ns

from backbones.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jfif")
# Word in the name of a folder, a list or an annotation file -> role of the split.
_ROLE_WORDS = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validate", "validation", "valset", "dev", "minival"),
    "test": ("test", "testing", "testset"),
    "trainval": ("trainval",),
}
_ROLES = {word: role for role, words in _ROLE_WORDS.items() for word in words}


def role_of(name: str) -> str:
    """The role that a name states: "train", "val", "test" or "trainval"; "" if the name states none.

    Args:
        name: name of a folder or of a file without its ending, such as "instances_Train", "valid" or "testSet".
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    roles = [_ROLES[word] for word in words if word in _ROLES]
    return "trainval" if roles[:2] == ["train", "val"] else roles[0] if roles else ""


def role_of_path(path: Path) -> str:
    """The role that a relative path states: of its last part that states one; "" if no part does."""
    return next((role for part in reversed(path.parts) if (role := role_of(part))), "")


def same_role(first: Path, second: Path) -> bool:
    """Whether two folders state the same role, or both state none. A folder that holds both says nothing on them."""
    pairs = enumerate(zip_longest(first.parts, second.parts))
    apart = next((i for i, (a, b) in pairs if a != b), len(first.parts))
    return role_of_path(Path(*first.parts[apart:])) == role_of_path(Path(*second.parts[apart:]))


def all_files(folder: Path) -> list[Path]:
    """Paths of the regular files in a folder and in its subfolders, sorted.

    Hidden files and folders, and the copies that macOS puts into ZIP archives (__MACOSX), are left out. Links to
    folders are followed, but no folder is listed twice.

    Raises:
        InputError: the folder or a subfolder cannot be listed.
    """
    key = str(folder)
    if key in _listings:
        times, files = _listings[key]
        if all(_time(name) == time for name, time in times.items()):
            return list(files)
    names, times = _list(key)
    files = [Path(name) for name in sorted(names)]
    _listings.clear()
    # The clock of file systems is coarse: a folder that has just changed may change again and keep its time.
    if all(0 <= time < time_ns() - _SETTLED for time in times.values()):
        _listings[key] = times, files
    return list(files)


# The last folder that was listed -> the times at which its subfolders changed, and its files.
_listings: dict[str, tuple[dict[str, int], list[Path]]] = {}
_SETTLED = 2_000_000_000  # nanoseconds


def _time(folder: str) -> int:
    """The time at which a folder last got or lost a file, in nanoseconds; -1 if the folder is gone."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return -1


def _list(folder: str) -> tuple[list[str], dict[str, int]]:
    """The files of a folder and of its subfolders, and the time at which each of these folders changed."""
    files, times, to_list, seen = [], {}, [folder], set()
    while to_list:
        parent = to_list.pop()
        if (real := os.path.realpath(parent)) in seen:
            continue
        seen.add(real)
        times[parent] = _time(parent)
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir():
                        to_list.append(entry.path)
                    elif entry.is_file():
                        files.append(entry.path)
        except OSError as e:
            raise InputError(f"{parent}: cannot be listed ({e.strerror}); correct its permissions") from e
    return files, times


def with_suffix(files: Iterable[Path], *suffixes: str) -> list[Path]:
    """The files with one of the endings, such as ".xml"; upper and lower case do not matter."""
    return [path for path in files if path.suffix.lower() in suffixes]


def stem(name: str) -> str:
    """A file's name without the ending of an image or an XML file. Other endings stay: "a.b" may be a whole name."""
    base, dot, ending = name.rpartition(".")
    return base if f"{dot}{ending}".lower() in (*IMAGE_SUFFIXES, ".xml", ".txt", ".json") else name


def by_stem(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Name of a file without its ending -> the files of that name."""
    found = defaultdict(list)
    for path in files:
        found[stem(path.name)].append(path)
    return found


def nearest(path: Path, candidates: Sequence[Path]) -> list[Path]:
    """Of files of one name, those whose folders resemble most the folder of another file.

    A folder resembles another if both state the same role, then by the number of names that their paths share. Of files
    that are as near, those in a folder for images, such as JPEGImages, come before those in SegmentationClass.

    Args:
        path: the other file, such as an XML file.
        candidates: the files, such as images of the XML file's name.
    """
    parts = Counter(path.parent.parts)

    def nearness(candidate: Path) -> tuple:
        folder = candidate.parent
        return (
            same_role(path.parent, folder),
            (parts & Counter(folder.parts)).total(),
            bool(re.search("image|img", folder.name.lower())),
        )

    best = max(map(nearness, candidates), default=None)
    return [candidate for candidate in candidates if nearness(candidate) == best]


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: the file is missing, cannot be read, or is no text in UTF-8.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is no regular file; check the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: is no text in UTF-8 ({e}); save the file as UTF-8") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); correct its permissions or replace it") from e


def read_json(path: Path) -> object:
    """The content of a JSON file.

    Raises:
        InputError: the file is missing, cannot be read, or is broken.
    """
    try:
        return json.loads(read_text(path))
    except InputError:
        raise
    except RecursionError as e:
        raise InputError(f"{path}: broken JSON (nested too deep)") from e
    except ValueError as e:  # a JSONDecodeError, or a number of too many digits
        raise InputError(f"{path}: broken JSON ({e})") from e


def read_xml(path: Path) -> ET.Element:
    """The root element of an XML file.

    Raises:
        InputError: the file is missing, cannot be read, or is broken.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        return ET.parse(path).getroot()
    except (ET.ParseError, ValueError, LookupError, RecursionError) as e:  # the second and third: an unknown encoding
        raise InputError(f"{path}: broken XML ({e})") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); correct its permissions or replace it") from e


def head(path: Path, size: int = 4096) -> str:
    """The first `size` bytes of a file as text, to see what the file may be; "" if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8-sig", errors="ignore")
    except OSError:
        return ""
