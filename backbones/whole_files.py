"""Writes files that are complete or absent, even if the program is killed while it writes; reads and hashes files.

Each file is written under a temporary name in the same folder, flushed to the disk, then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from backbones.errors import InputError


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A context in which the caller writes a temporary file, which is renamed to `path` at the end.

    If the block raises, the file at `path` stays as it was and the temporary file is deleted.

    Args:
        path: the file to write. A missing folder is created.

    Yields:
        path of the temporary file, `path` with ".partial" added. The block must create the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: str | Path, name: str) -> None:
    """Raises InputError if no new file can be written at `path`. Leaves nothing behind.

    Args:
        path: the file that is to be written, in folders that may be missing.
        name: the argument or key that names the file, for the message.
    """
    path = Path(path)
    with _made(path.parent, name, path):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: the file exists; name another file")
        partial = path.with_name(path.name + ".partial")
        if partial.exists() or partial.is_symlink():
            raise InputError(f"{path}: {partial.name}, its name while it is written, is in the way; remove that file")
        partial.open("xb").close()
        partial.unlink()


def check_folder(folder: str | Path, name: str) -> None:
    """Raises InputError if no file can be written in `folder`, which may be missing. Leaves nothing behind.

    Args:
        folder: the folder.
        name: the argument or key that names the folder, for the message.
    """
    with _made(Path(folder), name, folder):
        tempfile.TemporaryFile(dir=folder).close()


@contextlib.contextmanager
def _made(folder: Path, name: str, path: str | Path) -> Iterator[None]:
    """A context in which `folder` exists. Raises InputError, with `path`, if the block meets an error of the system."""
    made: list[Path] = []
    try:
        for missing in [p for p in (*reversed(folder.parents), folder) if not p.exists()]:
            missing.mkdir()
            made.append(missing)
        yield
    except InputError:
        raise
    except (OSError, ValueError) as e:
        raise cannot_be_written(name, path, e) from e
    finally:
        for empty in reversed(made):
            with contextlib.suppress(OSError):
                empty.rmdir()


def cannot_be_written(name: str, path: str | Path, error: Exception) -> InputError:
    """The error for a place that cannot be written.

    Args:
        name: the argument or key that names the place.
        path: the place.
        error: what the system said.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{name}: {path}: cannot be written ({reason}); name another place")


def write_text(text: str, path: str | Path) -> None:
    """Writes `text` to the file `path` in UTF-8, complete or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(content: dict | list, path: str | Path, indent: int | None = 2) -> None:
    """Writes a JSON file, complete or not at all.

    Args:
        content: lists, dicts and plain values. NaN becomes null, because JSON has no NaN.
        path: the file.
        indent: spaces for each level; None writes one line.
    """
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)
    except ValueError:  # there is a NaN, which is rare: to look for one takes longer than to write
        text = json.dumps(_without_nan(content), indent=indent)
    write_text(text + "\n", path)


def json_or_none(path: str | Path) -> object:
    """The content of a JSON file that a program has left; None if the file is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """The digest of a file's content in hexadecimal digits.

    Args:
        path: the file.
        algorithm: name of a hash function in hashlib.
    """
    digest = hashlib.new(algorithm)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
