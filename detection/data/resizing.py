"""Resizes images as detectron2 does, in a third of the time, and brings pixels into the order of the models."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from detectron2.data import transforms as T
from PIL import Image
from torch.nn.functional import interpolate


class Resize(T.ResizeTransform):
    """detectron2's resizing. 8-bit images are resized by torch instead of PIL.

    torch has PIL's bilinear filter, antialiased. A pixel differs by one level at most.
    """

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        method = self.interp if interp is None else interp
        if img.dtype != np.uint8 or img.ndim != 3 or method != Image.BILINEAR:
            return super().apply_image(img, interp)
        # torch warns of arrays that cannot be written, although nothing writes here.
        pixels = torch.from_numpy(img if img.flags.writeable and img.flags.c_contiguous else img.copy())
        batch = pixels.permute(2, 0, 1)[None]
        resized = interpolate(batch, (self.new_h, self.new_w), mode="bilinear", antialias=True)[0]
        return resized.permute(1, 2, 0).numpy()


class ResizeShortestEdge(T.ResizeShortestEdge):
    """detectron2's ResizeShortestEdge, with `Resize`."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        chosen = super().get_transform(image)
        if not isinstance(chosen, T.ResizeTransform):
            return chosen
        return Resize(chosen.h, chosen.w, chosen.new_h, chosen.new_w, chosen.interp)


def channels_first(image: np.ndarray) -> torch.Tensor:
    """An image (H, W, 3) uint8 as a tensor (3, H, W), contiguous."""
    mirrored = image.strides[1] < 0  # as detectron2's flip leaves an image; numpy would copy it byte by byte
    pixels = image[:, ::-1] if mirrored else image
    planes = pixels.transpose(2, 0, 1)  # as `Resize` leaves an image, this is contiguous
    if not planes.flags.c_contiguous:
        planes = np.empty((3, *image.shape[:2]), np.uint8)
        cv2.split(np.ascontiguousarray(pixels), list(planes))
    return torch.from_numpy(np.stack([cv2.flip(plane, 1) for plane in planes]) if mirrored else planes)
