"""Reads the pixels of image files of any kind, upright and in 8 bits, as the models take them."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.images import ORIENTATION, check_sides, lies_on_its_side, opened_image

import numpy as np
from PIL import Image, ImageOps

_ROUNDED = 1  # pixels: tools that resize images round their sides up or down


def read_image(record: dict, image_format: str) -> np.ndarray:
    """Reads the image of a dataset dict.

    Args:
        record: a dataset dict. If the dict states `width` and `height`, the image must have that size to a pixel.
        image_format: order of the channels, "RGB" or "BGR".

    Returns:
        (H, W, 3) uint8, turned upright as its EXIF orientation says. If `record` states the size of the image as it is
        stored, and not of the upright image, the image is not turned, because its boxes are those of the stored image.

    Raises:
        InputError: the image cannot be decoded, is too narrow, or the annotation states another size.
    """
    path = Path(record["file_name"])
    stated = (record["width"], record["height"]) if "width" in record and "height" in record else None
    with opened_image(path) as image:
        of_stored = lies_on_its_side(image) and stated == image.size and image.width != image.height
        pixels = pixels_of(image, image_format, upright=not of_stored)
    height, width = pixels.shape[:2]
    if stated and max(abs(width - stated[0]), abs(height - stated[1])) > _ROUNDED:
        raise InputError(
            f"{path}: the image is {width}x{height}, its annotation says {stated[0]}x{stated[1]}; correct one of them"
        )
    check_sides(path, width, height)
    return pixels


def pixels_of(image: Image.Image, image_format: str, *, upright: bool = True) -> np.ndarray:
    """The pixels of an opened image.

    Args:
        image: an image of any mode. Of several frames, the first is taken. Transparency is left out. Pixels of 16 bits
            are divided by 256; other pixels of more than 8 bits are scaled from their least to their greatest value.
        image_format: order of the channels, "RGB" or "BGR".
        upright: whether to turn the image as its EXIF orientation says.

    Returns:
        (H, W, 3) uint8.
    """
    if upright and image.getexif().get(ORIENTATION, 1) != 1:  # without the condition, every image would be copied
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = Image.fromarray(_in_8_bits(np.asarray(image), of_16_bits=image.mode != "F"))
    pixels = np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(pixels[:, :, ::-1]) if image_format == "BGR" else pixels


def _in_8_bits(values: np.ndarray, *, of_16_bits: bool) -> np.ndarray:
    """Grey values of more than 8 bits, (H, W), as uint8."""
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    if of_16_bits and low >= 0 and high < 2**16:
        return (values // 256).astype(np.uint8)
    return ((values - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
