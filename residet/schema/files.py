"""Reads YAML configs with their `_BASE_`, from this machine's files alone, as plain values alone."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError, did_you_mean, shown
from residet.cli.configs import find_base

import yaml

_BASE = "_BASE_"
_LARGEST = 100_000  # values in a file; aliases within aliases make billions of a few lines


def read_yaml(path: str | Path, named_by: tuple[Path, ...] = ()) -> dict:
    """The keys of a config file and of the files that it names as `_BASE_`; its own win.

    Args:
        path: the file.
        named_by: the files that have led to this one, each named by the one before it.

    Raises:
        InputError: a file does not exist, is not YAML, holds more than plain values, or has a `_BASE_` on a network.
    """
    path = Path(path)
    if not path.is_file():
        hint = did_you_mean(str(path), map(str, path.parent.glob("*.yaml")))
        where = f", which {named_by[-1]} names as {_BASE}" if named_by else ""
        raise InputError(f"{path}: no such config{where}{hint}")
    if path.resolve() in (file.resolve() for file in named_by):
        raise InputError(f"{path}: its {_BASE} names a file that names this one again; take one of them out")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e}); a config is a text file in UTF-8") from e
    bases = content.pop(_BASE, [])
    merged: dict = {}
    for base in bases if isinstance(bases, list) else [bases]:
        _merge(read_yaml(_path_of(base, path), (*named_by, path)), merged, path)
    _merge(content, merged, path)
    return merged


def parse_yaml(text: str, source: str | Path) -> dict:
    """The keys and values in the text of a config.

    Raises:
        InputError: the text, which comes from `source`, is not YAML, or holds more than keys and plain values.
    """
    try:
        content = yaml.safe_load(text)
        content = {} if content is None else content
        _count(content)
    except (RecursionError, MemoryError) as e:
        raise InputError(f"{source}: is nested too deep; a config has a few levels of keys") from e
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as e:
        raise InputError(f"{source}: {' '.join(str(e).split())}; correct the file there") from e
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{source}: holds {shown(content)}, not keys with values; a config has lines KEY: VALUE")
    return content


def _path_of(base: object, file: Path) -> Path:
    """The path of what `file` names as its base."""
    if not isinstance(base, str) or not base or "\0" in base:
        raise InputError(f"{file}: {_BASE} {shown(base)} is no path; name a file, or a list of files")
    if "://" in base:
        raise InputError(f"{file}: {_BASE} {shown(base)} is on a network; copy the file here and name the copy")
    try:
        return find_base(base, file)
    except (InputError, OSError) as e:
        raise InputError(f"{file}: {_BASE} {e}") from e


def _merge(new: dict, into: dict, path: Path) -> None:
    for key, value in new.items():
        before = into.get(key)
        if isinstance(value, dict) != isinstance(before, dict) and before is not None:
            raise InputError(
                f"{path}: {shown(key)}: is a group of keys in one file and a value in the other; correct one"
            )
        if isinstance(value, dict) and before is not None:
            _merge(value, before, path)
        else:
            into[key] = value


def _count(content: object) -> None:
    """Raises ValueError where a file unfolds into more values than a config has."""
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _LARGEST:
            raise ValueError(f"holds more than {_LARGEST} values")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
