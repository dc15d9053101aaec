"""Finds COCO's annotation files in a folder, the roles of their splits, and the images of an annotation file."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.files import (
    IMAGE_SUFFIXES,
    all_files,
    role_of,
    role_of_path,
    with_suffix,
)
from detection.data.layouts.reader import IncompleteDataError

# Number of images that are looked for to find out where the images of an annotation file lie.
_SAMPLE = 50


def coco_splits(root: Path) -> dict[str, Path]:
    """Name of a split -> annotation file. Empty if the folder and its subfolders have no annotation file of COCO.

    The file's name says the role of the split, or else the names of the file's folders below `root` do. A file that
    states no role is the split "all". Beside a split "train" it is left out, since such a file has the images of all
    splits together. A file of images without annotations counts only where no other is.

    Raises:
        InputError: several files state no role, or several files state the same; the message names the files.
    """
    files = [path for path in with_suffix(all_files(root), ".json") if _keys(path) >= {"images", "categories"}]
    annotated = [path for path in files if "annotations" in _keys(path)]
    # Beside instances_train2017.json, COCO has files of keypoints and captions of the same images.
    files = [path for path in annotated if "instances" in path.name.lower()] or annotated or files
    splits: dict[str, list[Path]] = {}
    for path in files:
        splits.setdefault(role_of(path.stem) or role_of_path(path.parent.relative_to(root)) or "all", []).append(path)
    if "train" in splits:
        splits.pop("all", None)
    for role, paths in splits.items():
        if len(paths) > 1:
            read_as = "that state no split" if role == "all" else f"of the split {role}"
            raise InputError(
                f"{root}: has {len(paths)} COCO annotation files {read_as}: {', '.join(map(str, paths[:5]))}; choose "
                f"with --train FILE and --val FILE, such as --train {paths[0]}"
            )
    return {role: paths[0] for role, paths in splits.items()}


def _keys(path: Path) -> set[str]:
    """Which of COCO's keys the text of a JSON file has. The file is searched, not parsed: a file may have 500 MB."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
                return set()
            return {key for key in ("images", "annotations", "categories") if text.find(f'"{key}"'.encode()) >= 0}
    except (OSError, ValueError):  # the second: an empty file
        return set()


def find_images(path: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """The images of an annotation file.

    The folders beside the file and those of COCO's layout are tried, with the whole name and with the name's last part.
    The place that has most of the images is taken, so that no image is taken from another split. If no place has any,
    images of those names are searched for in all folders around the file.

    Args:
        path: the annotation file.
        names: names of the images in the file, perhaps with folders.

    Returns:
        name of an image -> its path; None if the image is absent.

    Raises:
        IncompleteDataError: no place has any of the images; the message lists the folders.
    """
    folders = [folder for folder in dict.fromkeys(_usual_folders(path)) if folder.is_dir()]
    images = _in_folders(names, folders) or _anywhere(path, names)
    if images is None:
        raise IncompleteDataError(
            f"{path}: found the file's first image {names[0]} in none of {', '.join(map(str, folders))} and their "
            f"subfolders; name the folder of the images as {path.name}:DIR"
        )
    return images


def images_in(folder: Path, path: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """The images of an annotation file in the folder that the user names.

    Args:
        folder: the folder.
        path: the annotation file, for messages.
        names: names of the images in the file, perhaps with folders.

    Returns:
        name of an image -> its path; None if the image is absent.

    Raises:
        InputError: the folder has none of the images.
    """
    images = _in_folders(names, [folder])
    if images is None:
        raise InputError(f"{folder}: has none of the images of {path}, such as {names[0]}; correct the folder")
    return images


def _usual_folders(path: Path) -> list[Path]:
    """The folders that may hold the images of an annotation file, in the order of preference."""
    split = path.stem.removeprefix("instances_")
    up = path.parent.parent
    usual = [path.parent, up / split, up / "images" / split, up / "images", path.parent / "images", up]
    usual += [path.parent / split, path.parent / "images" / split]
    role = role_of(path.stem) or role_of(path.parent.name)
    for parent in (path.parent, path.parent / "images", up / "images", up):
        if role and parent.is_dir():
            # A folder may hold 100,000 images: os.scandir knows folders without asking for each file.
            folders = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
            usual += [parent / name / below for name in folders if role_of(name) == role for below in (".", "images")]
    return usual


def _in_folders(names: Sequence[str], folders: Sequence[Path]) -> dict[str, Path | None] | None:
    """The images in that folder which has most of them, by the whole name or its last part; None if no folder has any.

    The last part of a name counts only if no two images share it.
    """
    unique = len({_last(name) for name in names}) == len(names)
    ways = [(folder, whole) for whole in ((True, False) if unique else (True,)) for folder in folders]
    for sample in (names[:: max(len(names) // _SAMPLE, 1)], names):
        hits = [sum(_path(folder, name, whole) is not None for name in sample) for folder, whole in ways]
        if any(hits):
            folder, whole = ways[hits.index(max(hits))]
            return {name: _path(folder, name, whole) for name in names}
    return None


def _last(name: str) -> str:
    """The last part of a name with folders, which may have been written on Windows."""
    return name.replace("\\", "/").rpartition("/")[2]


def _path(folder: Path, name: str, whole: bool) -> Path | None:
    """The path of an image in a folder, by its whole name or by the last part of the name; None if absent."""
    path = os.path.join(folder, name.replace("\\", "/") if whole else _last(name))
    return Path(path) if os.path.isfile(path) else None


def _anywhere(path: Path, names: Sequence[str]) -> dict[str, Path | None] | None:
    """The images of those names below the file's folder or the folder above, if each name is there once; else None."""
    beside = re.search("annot|label|json", path.parent.name.lower())  # the images are not below such a folder
    for root in (path.parent, *([path.parent.parent] if beside else [])):
        images: dict[str, list[Path]] = {}
        for image in with_suffix(all_files(root), *IMAGE_SUFFIXES):
            images.setdefault(image.name, []).append(image)
        candidates = {name: images.get(_last(name), []) for name in names}
        if any(candidates.values()) and all(len(paths) <= 1 for paths in candidates.values()):
            return {name: paths[0] if paths else None for name, paths in candidates.items()}
    return None
