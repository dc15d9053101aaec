"""The exception for errors that the user can correct; the nearest name for a wrong one; text fit for a terminal."""

import difflib
import re
from collections.abc import Iterable

# Characters that a terminal or an editor obeys instead of showing: control characters except for tab and newline, and
# those that turn the direction of the text.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class InputError(ValueError):
    """The config, the data, the weights or the command line cannot be used.

    The message names the file, the key or the value, and says what to do. The tools print the message and exit with
    code 2.
    """


class ToldError(InputError):
    """An InputError whose cause another process has printed as its own message."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of a message on a wrong word: "; did you mean NAME?", or "" if no known name is near."""
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def printable(text: str) -> str:
    r"""`text` with control characters as escapes, such as "\x1b". File names, classes and metadata may hold any."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape", "backslashreplace").decode(), text)


def shown(value: object) -> str:
    """A value from a file or a command line for a message: one line of limited length without control characters."""
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except (ValueError, RecursionError):  # Python prints no whole number of more than 4,300 digits
        text = f"a {type(value).__name__} that is too long to show"
    text = printable(text)
    return text if len(text) <= 120 else f"{text[:117]}..."
