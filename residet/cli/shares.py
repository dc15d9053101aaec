"""The shares of an ensemble's members in its means, as a user gives them."""

from __future__ import annotations

import argparse
import math

from backbones.errors import InputError


def add_members(group: argparse._ArgumentGroup) -> None:
    """Adds --shares to the arguments of a tool whose --weights may be given several times, with --eval-only."""
    group.add_argument(
        "--shares",
        default="",
        metavar="S,S,…",
        help="share of each of several --weights in the means of the ensemble, such as 2,1; equal without it",
    )


def check_members(paths: list[str], shares: str, *, eval_only: bool) -> None:
    """Raises InputError if several --weights or --shares do not go with the other arguments.

    Args:
        paths: the values of --weights.
        shares: the value of --shares.
        eval_only: whether --eval-only is given.
    """
    if len(paths) > 1 and not eval_only:
        raise InputError("--weights: several files are an ensemble, which only --eval-only takes; name one file")
    if shares and len(paths) < 2:
        raise InputError("--shares: there is no ensemble; give --weights several times, with --eval-only")
    shares_of(shares, max(len(paths), 1))


def shares_of(text: str, count: int) -> list[float]:
    """The share of each member, summing up to 1.

    Args:
        text: the value of --shares: a number for each member, with commas between them; "" for equal shares.
        count: number of members.

    Raises:
        InputError: the text is not a number above 0 for each member.
    """
    if not text:
        return [1 / count] * count
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as e:
        raise InputError(f"--shares: {text} are no numbers with commas between them, such as 2,1") from e
    if len(numbers) != count or not all(0 < number < math.inf for number in numbers):
        raise InputError(f"--shares: {text} are not {count} numbers above 0, one for each --weights")
    return [number / sum(numbers) for number in numbers]
