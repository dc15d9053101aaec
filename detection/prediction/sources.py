"""The images that the arguments of a command mean: files, folders, patterns; videos and cameras."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.images import IMAGE_SUFFIXES, list_images

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_CAMERA = "camera:"


@dataclass(frozen=True)
class Images:
    """Image files.

    Attributes:
        root: the deepest folder that holds all of them; a picture's name is its path from there.
        paths: the files, in the order of the arguments, each once.
        folders: the folders that the arguments name.
    """

    root: Path
    paths: list[Path]
    folders: list[Path]

    @property
    def place(self) -> str:
        """Where the images lie: results of images of another place do not go into one folder."""
        return str(self.root)

    def name(self, path: Path) -> str:
        """The name of an image in results: its path from `root`, with / between folders."""
        return Path(os.path.relpath(path, self.root)).as_posix()


@dataclass(frozen=True)
class Video:
    """A video file or a camera.

    Attributes:
        name: name in results.
        opened: what OpenCV opens: a path, or a camera's number.
    """

    name: str
    opened: str | int

    @property
    def place(self) -> str:
        """Which video or camera: results of another do not go into one folder."""
        return str(Path(self.opened).resolve()) if isinstance(self.opened, str) else self.name


def find_source(arguments: Sequence[str]) -> Images | Video:
    """What the arguments of a command mean.

    Args:
        arguments: image files, folders (with their subfolders) and shell patterns such as "in/**/*.jpg"; or one video
            file; or "camera:0".

    Raises:
        InputError: an argument means nothing that exists, a folder or pattern holds no image, or a video or camera does
            not stand alone.
    """
    videos = [a for a in arguments if a.startswith(_CAMERA) or Path(a).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        return _images(arguments)
    if len(arguments) > 1:
        raise InputError(f"{videos[0]}: a video or a camera stands alone; give one command for each")
    return _video(videos[0])


def _video(argument: str) -> Video:
    if not argument.startswith(_CAMERA):
        if not Path(argument).is_file():
            raise InputError(f"{argument}: no such video; check the path")
        return Video(Path(argument).name, argument)
    number = argument.removeprefix(_CAMERA)
    if not number.isdecimal():
        raise InputError(f"{argument}: {number!r} is no number of a camera; give {_CAMERA}0 for the first")
    return Video(f"camera{number}", int(number))


def _images(arguments: Sequence[str]) -> Images:
    paths: dict[str, Path] = {}  # by absolute path: two arguments may mean one file
    folders = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            folders.append(path)
            found = list_images(path)
        elif path.is_file():
            found = [path]
        elif glob.has_magic(argument):
            matches = sorted(Path(p) for p in glob.glob(argument, recursive=True))
            found = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        else:
            raise InputError(f"{argument}: no such image, folder or video; check the path")
        if not found:
            raise InputError(
                f"{argument}: holds no image ({', '.join(IMAGE_SUFFIXES)}); name another folder or pattern"
            )
        for p in found:
            paths.setdefault(os.path.abspath(p), p)
    tops = [*(os.path.abspath(p) for p in folders), *(os.path.dirname(p) for p in paths)]
    return Images(Path(os.path.commonpath(tops)), list(paths.values()), folders)
