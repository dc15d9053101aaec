"""Values that a key must not have, from the kind of the key's values."""

import math

from residet.schema.kinds import Choice, Flag, Kind, Maybe, Named, Real, Row, Several, Text, Whole

_LARGE = 10**40


def bad_values(kind):
    """Values below, above, between, of other types, empty, not finite: all that `kind` must not accept."""
    return [value for value in _candidates(kind) if not _fits(kind, value)]


def _fits(kind, value):
    """Whether `kind` should take `value`, where that is plain; kinds are not asked, since they are under test."""
    if isinstance(kind, Maybe):
        return value is None or _fits(kind.kind, value)
    if isinstance(kind, Text):
        return isinstance(value, str) and value.isprintable() and (kind.empty or value != "")
    if isinstance(kind, Several):
        return value in ([], ()) and kind.low == 0
    return False


def _candidates(kind):
    if isinstance(kind, Maybe):
        return _candidates(kind.kind)
    if isinstance(kind, Whole):
        numbers = [kind.low - 1, kind.high + 1, _LARGE, -_LARGE, kind.low + 0.5]
        return [*numbers, math.nan, math.inf, True, None, "", "bogus", [], [1], {"a": 1}]
    if isinstance(kind, Real):
        numbers = [x for x in (kind.above, kind.below) if x is not None]
        numbers += [] if kind.low is None else [kind.low - 1e-3]
        numbers += [] if kind.high is None else [kind.high + 1e-3]
        return [*numbers, math.nan, math.inf, -math.inf, _LARGE**20, True, None, "", "bogus", [], [1.0], {"a": 1}]
    if isinstance(kind, Flag):
        return ["yes", "", 0, 1, 1.0, None, [], math.nan, {"a": True}]
    if isinstance(kind, Choice | Named):
        texts = ["bogus", "Bogus\x1b[31m", " ", "x" * 5000, "../../x", "\0"]
        return [*texts, 5, math.nan, None, [], ["bogus"], {"a": "b"}]
    if isinstance(kind, Text):
        return ["", "a\x1b[31mb", "a\nb", "\0", 5, math.nan, None, ["a"], {"a": "b"}]
    if isinstance(kind, Several):
        return _lists(kind)
    if isinstance(kind, Row):
        return [[], [1], ["a", "b", math.nan, 1.0], ["a", "b", 1.0, -1.0], [None] * 4, "bogus", None, {"a": 1}]
    assert isinstance(kind, Kind)
    return ["bogus", None, 5, [5], [None], [[]], [{"Bogus": {}}], [{}], [{"name": 5}], math.nan]


def _lists(kind):
    length = max(kind.low, 1)
    bad = [[value] * length for value in bad_values(kind.kind) if not isinstance(value, dict)]
    if kind.low:
        bad += [[]]
    if kind.high is not None:
        bad += [[0.5] * (kind.high + 1), [1] * (kind.high + 1)]
    if kind.rising:
        bad += [[0.75, 0.25], [300, 200]]
    return [*bad, "bogus", None, 5, math.nan, {"a": 1}]
