"""The progress bar of every loop that a user waits for."""

from __future__ import annotations

import sys

from detectron2.utils import comm
from tqdm import tqdm


def progress(iterable=None, **options) -> tqdm:
    """A bar with rate and ETA on the console of the main process; where that is no terminal, a line now and then."""
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(
        iterable,
        disable=not comm.is_main_process(),
        mininterval=interval,
        dynamic_ncols=True,
        file=sys.stderr,
        **options,
    )
