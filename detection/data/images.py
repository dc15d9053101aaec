"""Image files without annotations: what a folder holds, and how large they are."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from detection.data.defects import Defects
from detection.data.readers import Reader, ReaderOptions, Source

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


class ImageReader(Reader):
    """A folder of images without annotations, to predict on."""

    layout = "images alone"

    def splits(self, folder: Path) -> dict[str, str]:
        return {}

    def recognises(self, path: Path, part: str) -> bool:
        return not part and path.is_dir()

    def read(self, path: Path, part: str, defects: Defects, options: ReaderOptions) -> Source:
        records = []
        for image in list_images(path):
            width, height = image_size(image)
            records.append({"file_name": str(image), "image_id": str(image), "width": width, "height": height})
        return Source(records, [])
