"""Image files without annotations: what a folder holds, and how large they are."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError

from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


_ORIENTATION = 274  # EXIF's tag; from 5 on width and height change places


def list_images(folder: Path) -> list[Path]:
    """The image files in a folder and the folders in it, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as the file's head says, turned as its EXIF orientation has it, which detectron2 follows.

    Raises:
        InputError: it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # A PNG would be decoded to look for more than its head has.
            exif = image.getexif() if "exif" in image.info or image.format == "TIFF" else {}
            return (height, width) if exif.get(_ORIENTATION) in (5, 6, 7, 8) else (width, height)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e


def load_images(folder: Path) -> list[dict]:
    """Dataset dicts, without annotations, of the images in a folder: to predict on."""
    records = []
    for path in list_images(folder):
        width, height = image_size(path)
        records.append({"file_name": str(path), "image_id": str(path), "width": width, "height": height})
    return records
