"""The progress bar of loops that a user waits for."""

from __future__ import annotations

import sys

from detectron2.utils import comm
from tqdm import tqdm


def progress(iterable=None, **options) -> tqdm:
    """A bar with rate and ETA on stderr, in the main process only. If stderr is no terminal: a line every 20 seconds.

    Args:
        iterable: what the loop runs over; None if the caller updates the bar.
        options: further arguments of tqdm.
    """
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(
        iterable,
        disable=not comm.is_main_process(),
        mininterval=interval,
        dynamic_ncols=True,
        file=sys.stderr,
        **options,
    )
