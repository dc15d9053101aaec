"""Image files without annotations: what a folder holds, and how large they are."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError

from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def list_images(folder: Path) -> list[Path]:
    """The image files in a folder and the folders in it, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as the file's head says.

    Raises:
        InputError: it is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e


def load_images(folder: Path) -> list[dict]:
    """Dataset dicts, without annotations, of the images in a folder: to predict on."""
    records = []
    for path in list_images(folder):
        width, height = image_size(path)
        records.append({"file_name": str(path), "image_id": str(path), "width": width, "height": height})
    return records
