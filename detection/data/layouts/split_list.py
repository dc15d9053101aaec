"""Files that hold one part of data that nobody has split: NAME.split.json, written by `detection.data.splitting`.

    {"source": "/data/raccoons:all", "images": ["images/raccoon-1.jpg", …], …}

`source` is the name of the data, and `images` are the paths of the part's images from the folder of `source`. The name
of such a part, for --train, --val and a config, is the path of the file.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import write_json
from detection.data.layouts.files import read_json
from detection.data.layouts.reader import Source

SUFFIX = ".split.json"


def write_split_list(path: Path, source: str, images: Collection[str], seed: int, share: float) -> None:
    """Writes a part of data.

    Args:
        path: the file, whose name ends in ".split.json".
        source: name of the data, as `absolute` gives it.
        images: paths of the part's images, as `relative_image` gives them.
        seed: seed of the choice, for whoever reads the file.
        share: share of the images that are for the test, for whoever reads the file.
    """
    write_json({"source": source, "seed": seed, "val_share": share, "images": sorted(images)}, path)


def read_split_list(path: Path) -> tuple[str, set[str]]:
    """The name of the data, and the paths of the part's images.

    Raises:
        InputError: the file is missing or broken.
    """
    content = read_json(path)
    source = content.get("source") if isinstance(content, dict) else None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(source, str) or not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise InputError(f"{path}: has no text `source` and no list `images`; remove it, and split the data again")
    return source, set(images)


def part_of(source: Source, name: str, images: set[str], path: Path) -> Source:
    """The part of data that a list of images names.

    Args:
        source: all data.
        name: name of the data.
        images: paths of the part's images, as `relative_image` gives them.
        path: the file with the list, for messages.

    Raises:
        InputError: the data have lost images of the part.
    """
    records = [record for record in source.records if relative_image(record, name) in images]
    if len(records) < len(images):
        lost = min(images - {relative_image(record, name) for record in records})
        raise InputError(
            f"{path}: {len(images) - len(records)} of its {len(images)} images are no longer in {name}, first: {lost}; "
            "put them back, or start a new run, which splits the data again"
        )
    return replace(source, records=records)


def absolute(name: str) -> str:
    """A name of data, PATH or PATH:PART, with absolute paths, so that the name holds in every working folder."""
    path, colon, part = name.partition(":")
    part = str(Path(part).resolve()) if part and not Path(path).is_dir() and Path(part).is_dir() else part
    return f"{Path(path).resolve()}{colon}{part}"


def relative_image(record: dict, name: str) -> str:
    """Path of a dataset dict's image from the folder of the data `name`, with "/" between folders."""
    path = Path(name.partition(":")[0])
    folder = path if path.is_dir() else path.parent
    return Path(os.path.relpath(Path(record["file_name"]).absolute(), folder.absolute())).as_posix()
