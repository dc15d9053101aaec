"""What a reader of detection data is. A new layout is one file, a subclass of `Reader`, and one row in sources.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from detection.data.defects import Defects


@dataclass
class Source:
    """Data as they were read: dataset dicts and the names of the classes.

    Attributes:
        records: detectron2's dataset dicts. Their annotations carry the name of the class as `category`. Records of
            data without annotations have no `annotations`.
        classes: names of the classes.
        declared: the data list their classes. Else the classes are those of the boxes, and a rare one may be absent.
        category_ids: the number of each class in COCO's JSON, by the name of the class.
    """

    records: list[dict]
    classes: list[str]
    declared: bool = True
    category_ids: dict[str, int] | None = None

    @property
    def annotated(self) -> bool:
        """Whether the data have annotations."""
        return all("annotations" in record for record in self.records)


@dataclass(frozen=True)
class ReaderOptions:
    """What a config says about reading.

    Attributes:
        first_pixel: DATASETS.VOC_FIRST_PIXEL: number of the first pixel in the XML files of PASCAL VOC.
    """

    first_pixel: int = 1


class Reader(ABC):
    """Reads one layout. A name of data is PATH or PATH:PART.

    Attributes:
        layout: the layout's name, and what must lie in a folder of this layout, for messages.
        suffixes: endings of the annotation files whose names are names of data, if a PATH may be a file.
    """

    layout: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def splits(self, folder: Path) -> dict[str, str]:
        """The name of the data by the name of the split; empty where the folder is of another layout."""

    def recognises(self, path: Path, part: str) -> bool:
        """Whether PATH and PART of a name are data of this layout."""
        return path.suffix in self.suffixes

    @abstractmethod
    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        """Reads the data PATH:PART.

        Args:
            path: a file or a folder that the reader recognises.
            part: what stands behind the colon; "" where the name has none.
            defects: is filled with what was mended.
            options: what the config says about reading.

        Raises:
            InputError: a file is missing or broken; the message names the file.
        """
