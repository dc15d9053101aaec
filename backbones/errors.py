"""The exception for errors that the user can correct, and the nearest name for a wrong one."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The config, the data, the weights or the command line cannot be used.

    The message names the file, the key or the value, and says what to do. The tools print the message and exit with
    code 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message on a wrong word: "; did you mean NAME?", or "" if no known name is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
