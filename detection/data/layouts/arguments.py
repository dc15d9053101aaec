"""The options of the tools that say how folders of data are read. Importing this module imports no library."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def add_format(group: argparse._ActionsContainer) -> None:
    """Adds --format and --skip-missing to a parser, or to a group of its arguments."""
    group.add_argument(
        "--format",
        metavar="NAME",
        help="how folders are read: voc, coco, yolo, …; needed if what lies in a folder can be read in several ways",
    )
    group.add_argument(
        "--skip-missing",
        action="store_true",
        help="leave out images whose file is absent, and count them, instead of refusing the data",
    )


def set_format(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Sets DATASETS.FORMAT and DATASETS.SKIP_MISSING as the options of `add_format` say."""
    if args.format is not None:
        cfg.DATASETS.FORMAT = args.format
    if args.skip_missing:
        cfg.DATASETS.SKIP_MISSING = True
