"""Detection on large images in overlapping tiles: small objects get the size that the detector was trained for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

# A box that ends nearer to the edge of a tile than this, in sizes of the tile, counts as cut by the edge.
_CUT = 0.006


class TiledDetector(nn.Module):
    """A detector that looks at the whole image and at each tile, and joins the detections by suppression per class.

    Detections that the edge of a tile cuts are dropped, since a piece is no object: the next tile or the whole image
    shows the object in full. TEST.DETECTIONS_PER_IMAGE limits the detections of each tile, not the joined ones.

    Args:
        model: detectron2's GeneralizedRCNN, in evaluation mode.
        size: side of a tile, in pixels of the original image.
        overlap: part of a tile that the next tile shows too, from 0 to below 1.
        resize: resizes the whole image and each tile for the model.
        nms: two detections of one class with a larger IoU are one object: the detection with the lower score is
            dropped.
    """

    def __init__(self, model: nn.Module, size: int, overlap: float, resize: T.Augmentation, nms: float):
        super().__init__()
        self.model = model
        self.size = size
        self.overlap = overlap
        self.resize = resize
        self.nms = nms

    def forward(self, batch: list[dict]) -> list[dict]:
        """Detections in the pixels of the image, in the output format of detectron2's models.

        Args:
            batch: dicts with `image`, (3, H, W) uint8 in its original size.
        """
        return [{"instances": self._detect(entry["image"])} for entry in batch]

    def _detect(self, image: Tensor) -> Instances:
        height, width = image.shape[1:]
        windows = [(0, 0, width, height)]
        windows += [w for w in tiles(width, height, self.size, self.overlap) if w != windows[0]]
        detections = [self._look(image, *window) for window in windows]
        boxes, scores, classes = (torch.cat(x) for x in zip(*detections, strict=True))
        keep = batched_nms(boxes, scores, classes, self.nms)
        return Instances(
            (height, width), pred_boxes=Boxes(boxes[keep]), scores=scores[keep], pred_classes=classes[keep]
        )

    def _look(self, image: Tensor, x0: int, y0: int, x1: int, y1: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (in the image's pixels), scores and classes of the detections that the window does not cut."""
        tile = resized(image[:, y0:y1, x0:x1], self.resize)
        detections = self.model([{"image": tile, "height": y1 - y0, "width": x1 - x0}])[0]["instances"]
        boxes = detections.pred_boxes.tensor + detections.pred_boxes.tensor.new_tensor([x0, y0, x0, y0])
        height, width = image.shape[1:]
        inner = boxes.new_tensor([x0 > 0, y0 > 0, x1 < width, y1 < height]).bool()  # sides that may cut
        gaps = (boxes - boxes.new_tensor([x0, y0, x1, y1])).abs()
        whole = ~(inner & (gaps < _CUT * self.size)).any(dim=1)
        return boxes[whole], detections.scores[whole], detections.pred_classes[whole]


def tiles(width: int, height: int, size: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of tiles that cover an image, row by row.

    The last tile of a row or column is moved inwards, so that it ends at the image's edge.

    Args:
        width: width of the image in pixels.
        height: height of the image in pixels.
        size: side of a tile in pixels. A smaller image gets a smaller tile.
        overlap: part of a tile that the next tile shows too, from 0 to below 1.
    """
    for y0 in _starts(height, size, overlap):
        for x0 in _starts(width, size, overlap):
            yield x0, y0, min(x0 + size, width), min(y0 + size, height)


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(round(size * (1 - overlap)), 1)
    return sorted(
        {min(start, max(length - size, 0)) for start in range(0, max(length - round(size * overlap), 1), step)}
    )


def resized(image: Tensor, resize: T.Augmentation) -> Tensor:
    """An image (3, H, W) uint8 -> the image after `resize`, (3, H', W') uint8."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    pixels = resize.get_transform(pixels).apply_image(pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
