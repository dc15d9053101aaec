"""Refuses keys of the config that no run would read, so that no setting is ignored without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backbones.errors import InputError, shown
from residet.schema.kinds import leaves, plain, value_of

from detectron2.config import CfgNode


def check_unused(cfg: CfgNode, defaults: CfgNode, unused: Mapping[str, str]) -> None:
    """Raises InputError where a key that no run reads has another value than its default.

    Args:
        cfg: the config of a run.
        defaults: the config as it is before YAML files and overrides.
        unused: the keys, or subtrees of keys, and for each what the user can do instead.
    """
    for name, remedy in unused.items():
        default_values = _below(defaults, name)
        for key, value in _below(cfg, name).items():
            if value != default_values.get(key):
                raise InputError(f"{key}: {shown(value)} would have no effect here; {remedy}")


def check_overwritten(overridden_keys: Collection[str], overwritten: Mapping[str, str]) -> None:
    """Raises InputError where the user sets a key that the run fills in itself.

    Args:
        overridden_keys: keys that the user has set on the command line.
        overwritten: the keys that the run fills in, and for each what the user can do instead.
    """
    for key, remedy in overwritten.items():
        if key in overridden_keys:
            raise InputError(f"{key}: would be overwritten; {remedy}")


def _below(cfg: CfgNode, name: str) -> dict[str, object]:
    """The keys below `name`, or `name` itself, with their values."""
    value = value_of(cfg, name)
    return leaves(value, f"{name}.") if isinstance(value, CfgNode) else {name: plain(value)}
