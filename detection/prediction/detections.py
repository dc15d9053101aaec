"""The detections of one image, for programs, for files and for the eye."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backbones.errors import InputError
from detection.data.layouts.coco import coco_results
from detection.prediction.images import ImageSource, pixels_of

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects that a detector finds in an image, the highest score first.

    Attributes:
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of the given image; x0 = 0 is the left edge of the first pixel.
        scores: (N,) float32, from 0 to 1.
        class_ids: (N,) int64, index of each object's class in `classes`.
        classes: names of all classes of the detector.
        size: height and width of the image in pixels.
        source: the image as it was given; `draw` reads the image from there.
        channels: order of the channels of `source` if `source` is an array or a tensor.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    classes: tuple[str, ...]
    size: tuple[int, int]
    source: ImageSource = field(repr=False)
    channels: str | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index) -> Detections:
        """The detections that a slice, a mask or an array of indices chooses."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], class_ids=self.class_ids[chosen])

    @property
    def names(self) -> list[str]:
        """The class of each object."""
        return [self.classes[i] for i in self.class_ids]

    def counts(self) -> dict[str, int]:
        """Number of objects of each class that is in the image, in the order of `classes`."""
        counts = Counter(self.class_ids.tolist())
        return {self.classes[i]: counts[i] for i in sorted(counts)}

    def to_dict(self) -> dict:
        """Plain values for JSON: {"width", "height", "detections": [{"box", "score", "class", "class_id"}, …]}."""
        columns = self.boxes.tolist(), self.scores.tolist(), self.names, self.class_ids.tolist()
        keys = ("box", "score", "class", "class_id")
        objects = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        return {"width": self.size[1], "height": self.size[0], "detections": objects}

    @classmethod
    def from_dict(cls, content: dict, classes: Sequence[str], source: ImageSource, channels=None) -> Detections:
        """The detections of a dict that `to_dict` made.

        Args:
            content: the dict.
            classes: names of all classes of the detector.
            source: the image, from which `draw` reads.
            channels: order of the channels of `source` if `source` is an array or a tensor.
        """
        objects = content["detections"]
        boxes = np.array([o["box"] for o in objects], np.float32).reshape(-1, 4)
        scores = np.array([o["score"] for o in objects], np.float32)
        class_ids = np.array([o["class_id"] for o in objects], np.int64)
        size = content["height"], content["width"]
        return cls(boxes, scores, class_ids, tuple(classes), size, source, channels)

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_coco(self, image_id: int | str, category_ids: Mapping[str, int] | None = None) -> list[dict]:
        """The detections in COCO's result format, with boxes as x, y, width, height.

        Args:
            image_id: id of the image in the annotation file that the result is compared with.
            category_ids: the annotation file's id of each class, by name; None takes the index in `classes`, as
                tools/train_net.py does for data whose annotation file has no ids.

        Raises:
            InputError: `category_ids` lacks a class that was detected.
        """
        ids = category_ids if category_ids is not None else {name: i for i, name in enumerate(self.classes)}
        if missing := set(self.names) - set(ids):
            raise InputError(f"category_ids: gives no id for {', '.join(sorted(missing))}; add these classes")
        images = [image_id] * len(self)
        return coco_results(images, (ids[name] for name in self.names), self.boxes, self.scores)

    def to_supervision(self) -> supervision.Detections:
        """The detections as `supervision.Detections`, with the names of the classes in data["class_name"].

        Raises:
            InputError: supervision is not installed.
        """
        try:
            from supervision import Detections as SupervisionDetections
        except ImportError as e:
            raise InputError(f"supervision: cannot be imported ({e}); pip install 'residet[supervision]'") from e
        return SupervisionDetections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(self, scale: float = 1.0) -> Image.Image:
        """The image with the boxes, classes and scores drawn on it. A class has the same colour in every picture.

        Args:
            scale: size of the picture, in sizes of the image.
        """
        return Image.fromarray(self.drawn_on(pixels_of(self.source, "RGB", self.channels), scale))

    def drawn_on(self, pixels: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """As `draw`, on pixels (H, W, 3) uint8 RGB of the image; gives such pixels."""
        from detection.data.drawing import draw_boxes  # matplotlib takes a second, and not everybody draws

        return draw_boxes(pixels, self.boxes, self.class_ids, self.classes, self.scores.tolist(), scale)


def class_indices(wanted: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Indices of the classes with the given names, without regard to upper and lower case.

    Raises:
        InputError: a name is none of `classes`.
    """
    by_name = {name.casefold(): i for i, name in enumerate(classes)}
    if unknown := [name for name in wanted if name.casefold() not in by_name]:
        raise InputError(f"classes: {', '.join(unknown)}: the detector has {', '.join(classes)}; choose of these")
    return [by_name[name.casefold()] for name in wanted]
