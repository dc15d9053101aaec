"""Images as programs hold them (paths, bytes, arrays, tensors, PIL images) -> pixels as the data pipeline has them."""

from __future__ import annotations

import io
import os
from pathlib import Path

from backbones.errors import InputError
from detection.data import pixels
from detection.data.layouts.images import check_sides

import numpy as np
import torch
from PIL import Image

ORDERS = ("RGB", "BGR")

# An image of the user: a file's path, a file's content, (H, W, 3) uint8, (3, H, W) uint8, or a PIL image.
ImageSource = str | os.PathLike | bytes | bytearray | np.ndarray | torch.Tensor | Image.Image


def pixels_of(image: ImageSource, order: str, channels: str | None = None) -> np.ndarray:
    """The pixels of an image. Files and PIL images are turned upright as their EXIF orientation says.

    Args:
        image: path of an image file, or its content as bytes; a PIL image; a numpy array (H, W, 3), or (H, W) for a
            grey image, uint8; a torch tensor (3, H, W), or (1, H, W) for a grey image, uint8.
        order: order of the channels in the result, "RGB" or "BGR".
        channels: order of the channels in `image` if `image` is an array or a tensor; None for other images.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: the image cannot be decoded, has another type or shape, is empty or too narrow, or is an array or a
            tensor and `channels` is not given.
    """
    if isinstance(image, str | os.PathLike):
        return pixels.read_image({"file_name": os.fspath(image)}, order)
    if isinstance(image, bytes | bytearray):
        decoded = _decode(bytes(image), order)
    elif isinstance(image, Image.Image):
        decoded = pixels.pixels_of(image, order)
    elif isinstance(image, torch.Tensor):
        decoded = _of_array(image, "a tensor (3, H, W)", order, channels)
    elif isinstance(image, np.ndarray):
        decoded = _of_array(image, "an array (H, W, 3)", order, channels)
    else:
        raise InputError(
            f"image: {type(image).__name__} is none of a path, bytes, a numpy array, a torch tensor or a PIL image; "
            "convert the image to one of these"
        )
    check_sides(Path("image"), decoded.shape[1], decoded.shape[0])
    return decoded


def _decode(content: bytes, order: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return pixels.pixels_of(image, order)
    except Exception as e:  # of broken bytes, Pillow's decoders raise nearly anything
        raise InputError(f"image: its {len(content)} bytes cannot be decoded ({e}); pass a whole image file") from e


def _of_array(image: np.ndarray | torch.Tensor, wanted: str, order: str, channels: str | None) -> np.ndarray:
    """Checks an array or a tensor, and brings it to (H, W, 3) in the order of channels `order`."""
    if image.dtype not in (np.uint8, torch.uint8):
        raise InputError(f"image: holds {image.dtype}; pass {wanted} of uint8, 0 to 255")
    shape = tuple(image.shape)
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise InputError(f"image: has the shape {shape}; pass {wanted}")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if channels not in ORDERS:
        raise InputError(
            f"channels: {channels!r} does not say the order of an array's channels; pass channels='RGB' (PIL, "
            "torchvision, matplotlib) or channels='BGR' (OpenCV)"
        )
    return np.ascontiguousarray(image if channels == order else image[:, :, ::-1])
