"""Large images in overlapping tiles, so that small objects are seen at the size that the detector was trained for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

# A box that ends so near the edge of a tile, in tile sizes, is taken to be cut there.
_CUT = 0.006


class TiledDetector(nn.Module):
    """A detector that sees the whole image and each tile of it; what it finds is joined by suppression per class.

    What a tile cuts through is left to the next tile or the whole image: a piece is no object. The model's limit of
    detections holds for each tile, not for all of them together.

    Args:
        model: detectron2's, in evaluation.
        size: of a tile's sides, in pixels of the original image.
        overlap: part of a tile that the next one shows too.
        resize: of the whole image and of each tile, before the model sees it.
        nms: IoU above which the lesser of two detections of a class is dropped.
    """

    def __init__(self, model: nn.Module, size: int, overlap: float, resize: T.Augmentation, nms: float):
        super().__init__()
        self.model = model
        self.size = size
        self.overlap = overlap
        self.resize = resize
        self.nms = nms

    def forward(self, batch: list[dict]) -> list[dict]:
        """As detectron2's models; images (3, H, W) have their original pixels."""
        return [{"instances": self._detect(entry["image"])} for entry in batch]

    def _detect(self, image: Tensor) -> Instances:
        height, width = image.shape[1:]
        windows = [(0, 0, width, height)]
        windows += [w for w in tiles(width, height, self.size, self.overlap) if w != windows[0]]
        parts = [self._look(image, *window) for window in windows]
        boxes, scores, classes = (torch.cat(x) for x in zip(*parts, strict=True))
        keep = batched_nms(boxes, scores, classes, self.nms)
        return Instances(
            (height, width), pred_boxes=Boxes(boxes[keep]), scores=scores[keep], pred_classes=classes[keep]
        )

    def _look(self, image: Tensor, x0: int, y0: int, x1: int, y1: int) -> tuple[Tensor, Tensor, Tensor]:
        tile = resized(image[:, y0:y1, x0:x1], self.resize)
        found = self.model([{"image": tile, "height": y1 - y0, "width": x1 - x0}])[0]["instances"]
        boxes = found.pred_boxes.tensor + found.pred_boxes.tensor.new_tensor([x0, y0, x0, y0])
        height, width = image.shape[1:]
        inner = boxes.new_tensor([x0 > 0, y0 > 0, x1 < width, y1 < height]).bool()  # sides that cut the image
        gaps = (boxes - boxes.new_tensor([x0, y0, x1, y1])).abs()
        whole = ~(inner & (gaps < _CUT * self.size)).any(dim=1)
        return boxes[whole], found.scores[whole], found.pred_classes[whole]


def tiles(width: int, height: int, size: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of tiles that cover the image, row by row; the last ones are moved inwards."""
    for y0 in _starts(height, size, overlap):
        for x0 in _starts(width, size, overlap):
            yield x0, y0, min(x0 + size, width), min(y0 + size, height)


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(round(size * (1 - overlap)), 1)
    return sorted(
        {min(start, max(length - size, 0)) for start in range(0, max(length - round(size * overlap), 1), step)}
    )


def resized(image: Tensor, resize: T.Augmentation) -> Tensor:
    """(3, H, W) uint8 -> the same, as `resize` has it."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    pixels = resize.get_transform(pixels).apply_image(pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
