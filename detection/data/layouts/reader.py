"""The interface of a reader, which reads detection data of one layout.

To add a layout, write one file with a subclass of `Reader`, and add the reader to `READERS` in sources.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backbones.errors import InputError
from detection.data.layouts.defects import Defects

from detectron2.structures import BoxMode


class IncompleteDataError(InputError):
    """Data that lack a part, such as images or names of classes, so that another reading of the folder may be meant."""


@dataclass
class Source:
    """The result of a reader: the dataset dicts and the names of the classes.

    Attributes:
        records: detectron2's dataset dicts. Each annotation has the name of its class as `category`, in the place of
            detectron2's `category_id`. If the data have no annotations, the dicts have no `annotations`.
        classes: names of the classes.
        declared: whether the data list their classes. If not, `classes` are the classes of the boxes, and a class
            without a box in these data is absent.
        category_ids: name of a class -> its id in COCO's JSON; None for other layouts.
        layout: name of the reader.
        agrees: names of other readers that give the same boxes of the folder, such as a table made from XML files.
        left_out: names of declared classes that are not among `classes`, since they have no box and only group others.
    """

    records: list[dict]
    classes: list[str]
    declared: bool = True
    category_ids: dict[str, int | str] | None = None
    left_out: tuple[str, ...] = ()
    layout: str = ""
    agrees: tuple[str, ...] = ()

    @property
    def annotated(self) -> bool:
        """Whether the data have annotations."""
        return all("annotations" in record for record in self.records)


def box_annotation(box: list[float], category: str, **further) -> dict:
    """An annotation of a `Source`'s dataset dict.

    Args:
        box: x0, y0, x1, y1 in continuous pixel coordinates.
        category: name of the class.
        further: `difficult`, `area`, and `iscrowd` of a crowd.
    """
    return {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category": category, "iscrowd": 0, **further}


@dataclass(frozen=True)
class ReaderOptions:
    """The config's settings for readers.

    Attributes:
        first_pixel: DATASETS.VOC_FIRST_PIXEL: number of the first pixel in the XML files of PASCAL VOC, 0 or 1.
        format: DATASETS.FORMAT: name of the reader that reads folders; "" if their content decides.
        skip_missing: DATASETS.SKIP_MISSING: leave out images whose file is absent, instead of refusing the data.
    """

    first_pixel: int = 1
    format: str = ""
    skip_missing: bool = False


class Reader(ABC):
    """Reads data of one layout. The name of data is PATH or PATH:PART, such as data/bccd:train.

    Attributes:
        name: the layout's name for `--format`, such as "voc".
        layout: the layout's name, with the files that a folder of this layout has, for messages.
        suffixes: if PATH may be an annotation file, the endings of such files, e.g. ".json".
    """

    name: ClassVar[str]
    layout: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def splits(self, folder: Path) -> dict[str, str]:
        """Name of a split -> name of its data, PATH or PATH:PART. Empty if the folder has another layout.

        The splits "train", "val", "test" and "trainval" have roles. Data that nobody has split have one split, "all".
        The folder is judged by the content of its files: a file that does not belong to the layout is passed over.

        Raises:
            InputError: the folder has the layout, but more than one reading is possible; the message names the readings
                and the option that chooses.
        """

    def recognises(self, path: Path, part: str) -> bool:
        """Whether PATH:PART names data of this layout. `part` is "" if the name has no PART."""
        return path.suffix in self.suffixes

    @abstractmethod
    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        """Reads the data PATH:PART.

        Args:
            path: a file or a folder that the reader recognises.
            part: the text behind the colon, such as a split; "" if the name has no colon.
            defects: gets the defects that were mended.
            options: the config's settings for readers.

        Raises:
            InputError: a file is missing or broken; the message names the file.
        """
