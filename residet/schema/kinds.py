"""What the keys of a config may hold: kinds of values, and the check of a config against a table of keys."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from backbones.errors import InputError, did_you_mean, shown

from detectron2.config import CfgNode

_LARGEST = 2**31 - 1


class Kind:
    """A set of allowed values. `allowed` says in words which they are."""

    allowed: str

    def accepts(self, value: object) -> bool:
        """Whether `value` is one of the kind."""
        raise NotImplementedError

    def check(self, name: str, value: object) -> None:
        """Raises InputError with `name`, the value and what is allowed, if `value` is none of the kind."""
        if not self.accepts(value):
            raise InputError(f"{name}: {shown(value)} is {self.refusal(value)}")

    def refusal(self, value: object) -> str:
        """The end of the message, after "is": what is allowed."""
        return f"not {self.allowed}"


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = _LARGEST

    @property
    def allowed(self) -> str:
        return (
            f"a whole number of {self.low} or more"
            if self.high == _LARGEST
            else f"a whole number of {self.low} to {self.high}"
        )

    def accepts(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Real(Kind):
    """A finite number between bounds: `low` and `high` are allowed, `above` and `below` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def allowed(self) -> str:
        bounds = {
            "{:g} or more": self.low,
            "above {:g}": self.above,
            "at most {:g}": self.high,
            "below {:g}": self.below,
        }
        words = [text.format(bound) for text, bound in bounds.items() if bound is not None]
        return "a finite number" + (", " + " and ".join(words) if words else "")

    def accepts(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool) or not _finite(value):
            return False
        low, high = self.low if self.low is not None else value, self.high if self.high is not None else value
        above = self.above is None or value > self.above
        return low <= value <= high and above and (self.below is None or value < self.below)


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


@dataclass(frozen=True)
class Flag(Kind):
    """True or False."""

    allowed = "True or False"

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class Text(Kind):
    """A line of text without control characters.

    Args:
        empty: whether "" is allowed.
        longest: largest number of characters; no file has a longer path.
    """

    empty: bool = True
    longest: int = 4096

    @property
    def allowed(self) -> str:
        return "text" + (", or empty" if self.empty else ", not empty")

    def accepts(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.longest:
            return False
        return not any(unicodedata.category(c) == "Cc" for c in value) and (self.empty or bool(value))


@dataclass(frozen=True)
class Choice(Kind):
    """One of some values.

    Args:
        choices: the values; or a function that lists them, such as the names in a registry.
    """

    choices: tuple[object, ...] | Callable[[], Iterable[str]]

    @property
    def values(self) -> tuple[object, ...]:
        return tuple(self.choices()) if callable(self.choices) else self.choices

    @property
    def allowed(self) -> str:
        return f"one of {self._words}"

    @property
    def _words(self) -> str:
        return ", ".join(repr(v) if v == "" else str(v) for v in self.values)

    def accepts(self, value: object) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    def refusal(self, value: object) -> str:
        return f"none of {self._words}{did_you_mean(shown(value), map(str, self.values))}"


@dataclass(frozen=True)
class Named(Kind):
    """A name that a function knows.

    Args:
        find: takes a name, and raises InputError with a message of its own where there is nothing of that name.
        allowed: what is allowed, in words.
    """

    find: Callable[[str], object]
    allowed: str

    def accepts(self, value: object) -> bool:
        try:
            self.check("", value)
        except InputError:
            return False
        return True

    def check(self, name: str, value: object) -> None:
        if not Text(empty=False, longest=100).accepts(value):
            raise InputError(f"{name}: {shown(value)} is not {self.allowed}")
        try:
            self.find(value)
        except InputError as e:
            raise InputError(str(e) if str(e).startswith(name) else f"{name}: {e}") from e


@dataclass(frozen=True)
class Maybe(Kind):
    """None, or a value of another kind."""

    kind: Kind

    @property
    def allowed(self) -> str:
        return f"{self.kind.allowed}, or None"

    def accepts(self, value: object) -> bool:
        return value is None or self.kind.accepts(value)


@dataclass(frozen=True)
class Several(Kind):
    """A list of values of one kind.

    Args:
        kind: the kind of each value.
        low: smallest length.
        high: largest length; None for any.
        rising: no value is below the value before.
    """

    kind: Kind
    low: int = 0
    high: int | None = None
    rising: bool = False

    @property
    def allowed(self) -> str:
        length = f"{self.low}" if self.low == self.high else f"{self.low} or more"
        length = length if self.high in (None, self.low) else f"{self.low} to {self.high}"
        return f"a list of {length} values, each {self.kind.allowed}{', in rising order' if self.rising else ''}"

    def accepts(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or not self.low <= len(value) <= (self.high or math.inf):
            return False
        if not all(self.kind.accepts(item) for item in value):
            return False
        return not self.rising or list(value) == sorted(value)

    def check(self, name: str, value: object) -> None:
        if isinstance(value, list | tuple) and isinstance(self.kind, Choice):
            for item in value:
                self.kind.check(name, item)
        super().check(name, value)


@dataclass(frozen=True)
class Row(Kind):
    """A list in which each place has a kind of its own."""

    kinds: tuple[Kind, ...]

    @property
    def allowed(self) -> str:
        return f"a list of {len(self.kinds)} values: {'; '.join(kind.allowed for kind in self.kinds)}"

    def accepts(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or len(value) != len(self.kinds):
            return False
        return all(kind.accepts(item) for kind, item in zip(self.kinds, value, strict=True))


@dataclass(frozen=True)
class Key:
    """A row of a table of keys.

    Args:
        kind: what the key may hold.
        purpose: what the key is for, where no comment beside its default says so.
        resume: whether --resume may change the key, since the run stays the same run.
    """

    kind: Kind
    purpose: str = ""
    resume: bool = False


def check_values(cfg: CfgNode, table: Mapping[str, Key]) -> None:
    """Raises InputError with key, value and what is allowed, for the first key that has a value it must not have.

    Args:
        cfg: the config.
        table: rows by the name of the key.
    """
    for name, key in table.items():
        key.kind.check(name, value_of(cfg, name))


def value_of(cfg: CfgNode, name: str) -> object:
    """The value of the key `name`, such as "SOLVER.BASE_LR"."""
    value: object = cfg
    for part in name.split("."):
        value = value[part]
    return value


def leaves(cfg: Mapping, prefix: str = "") -> dict[str, object]:
    """All keys of a config or of a nested dict, with their values; lists as tuples, as either may come from a YAML."""
    values: dict[str, object] = {}
    for key, value in cfg.items():
        name = f"{prefix}{key}"
        values |= leaves(value, f"{name}.") if isinstance(value, Mapping) else {name: plain(value)}
    return values


def plain(value: object) -> object:
    """`value` with its lists as tuples."""
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value
