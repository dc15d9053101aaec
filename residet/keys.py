"""Refuses keys of the config that no run would read, so that no setting is ignored without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from backbones.errors import InputError

from detectron2.config import CfgNode

# Of detectron2's schedulers. WarmupStepWithFixedGammaLR, its third, fails in the last iteration of a training with an
# index past the end.
SCHEDULERS = ("WarmupMultiStepLR", "WarmupCosineLR")


def check_unused(cfg: CfgNode, defaults: CfgNode, unused: Mapping[str, str]) -> None:
    """Raises InputError where a key that no run reads has another value than its default.

    Args:
        cfg: the config of a run.
        defaults: the config as it is before YAML files and overrides.
        unused: the keys, or subtrees of keys, and for each what the user can do instead.
    """
    for name, remedy in unused.items():
        default_values = dict(_leaves(defaults, name))
        for key, value in _leaves(cfg, name):
            if value != default_values.get(key):
                raise InputError(f"{key}: {_shown(value)} would have no effect here; {remedy}")


def check_overwritten(overridden_keys: Collection[str], overwritten: Mapping[str, str]) -> None:
    """Raises InputError where the user sets a key that the run fills in itself.

    Args:
        overridden_keys: keys that the user has set on the command line.
        overwritten: the keys that the run fills in, and for each what the user can do instead.
    """
    for key, remedy in overwritten.items():
        if key in overridden_keys:
            raise InputError(f"{key}: would be overwritten; {remedy}")


def check_scheduler(cfg: CfgNode, *further: str) -> None:
    """Raises InputError if SOLVER.LR_SCHEDULER_NAME is unknown, or a key of another scheduler is set.

    Args:
        cfg: the config of a run.
        further: names of schedulers that are allowed beside SCHEDULERS.
    """
    name = cfg.SOLVER.LR_SCHEDULER_NAME
    if name not in (*SCHEDULERS, *further):
        raise InputError(f"SOLVER.LR_SCHEDULER_NAME: {name!r} is none of {', '.join((*SCHEDULERS, *further))}")
    if name != "WarmupCosineLR" and cfg.SOLVER.BASE_LR_END:
        raise InputError(f"SOLVER.BASE_LR_END: {name} does not read it; use SOLVER.LR_SCHEDULER_NAME WarmupCosineLR")


def _leaves(cfg: CfgNode, name: str) -> Iterator[tuple[str, object]]:
    """The keys below `name`, or `name` itself, with their values; lists as tuples, as either may come from a YAML."""
    value: object = cfg
    for part in name.split("."):
        value = value[part]
    if isinstance(value, CfgNode):
        for key in value:
            yield from _leaves(cfg, f"{name}.{key}")
    else:
        yield name, _plain(value)


def _plain(value: object) -> object:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
