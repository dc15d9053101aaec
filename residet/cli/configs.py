"""The configs that residet brings, found by name: in a checkout, and in a package that is installed."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError, did_you_mean

_BESIDE = Path(__file__).resolve().parents[2]


def configs_folder() -> Path:
    """The folder of residet's configs: `configs` of a checkout, `residet_configs` beside an installed package."""
    installed = _BESIDE / "residet_configs"
    return installed if installed.is_dir() else _BESIDE / "configs"


def config_names() -> list[str]:
    """The names of residet's configs: paths below the folder of configs, without suffix."""
    folder = configs_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: a file; else the name of a config of residet, with or without `.yaml` and with or without `configs/`.

    Raises:
        InputError: there is no such file and no such name; the nearest is suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    for candidate in (inside, inside.with_name(f"{inside.name}.yaml")) if inside.name else ():
        file = configs_folder() / candidate
        if not inside.is_absolute() and file.is_file():
            return file
    siblings = [p.as_posix() for p in path.parent.glob("*.yaml")]
    raise InputError(f"{name}: no such config{did_you_mean(path.as_posix(), [*siblings, *config_names()])}")


def find_base(base: str, file: Path) -> Path:
    """The file that a config names as its `_BASE_`: a path beginning at the config's folder, else a name.

    Args:
        base: what the config names.
        file: the config.

    Raises:
        InputError: there is no such file and no such name.
    """
    beside = file.parent / Path(base).expanduser()
    return beside if beside.is_file() else find_config(base)
