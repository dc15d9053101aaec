"""Finds the image files in a folder and reads their sizes, without decoding the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import ABSENT, Defects
from detection.data.layouts.files import IMAGE_SUFFIXES, all_files, with_suffix
from detection.data.layouts.reader import Reader, ReaderOptions, Source

from PIL import Image, UnidentifiedImageError

# Number of the EXIF tag for the orientation. Images with an orientation of 5 to 8 are stored lying on their side.
_ORIENTATION = 274


def list_images(folder: Path) -> list[Path]:
    """Paths of the image files in a folder and in its subfolders, sorted."""
    return with_suffix(all_files(folder), *IMAGE_SUFFIXES)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image in pixels, read from the head of its file.

    The size is that of the upright image: detectron2 turns an image by its EXIF orientation when reading the file.

    Raises:
        InputError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # For a PNG whose head has no EXIF, Pillow would decode the whole image to look for EXIF behind the pixels.
            exif = image.getexif() if "exif" in image.info or image.format == "TIFF" else {}
            return (height, width) if exif.get(_ORIENTATION) in (5, 6, 7, 8) else (width, height)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e


def check_absent(
    absent: Sequence[object], count: int, source: object, defects: Defects, options: ReaderOptions
) -> None:
    """Refuses data with absent images, or counts these images if the user has asked to leave them out.

    Args:
        absent: paths or names of the images whose file is absent.
        count: number of images of the data, absent ones included.
        source: annotation file, list or folder that names the images, for messages.
        defects: gets the absent images.
        options: the config's settings for readers.

    Raises:
        InputError: images are absent, and `options.skip_missing` is not set, or no image is left.
    """
    if not absent:
        return
    if not options.skip_missing or len(absent) == count:
        leave_out = "" if len(absent) == count else ", or leave them out with --skip-missing"
        raise InputError(
            f"{source}: {len(absent)} of {count} images are absent, first: {absent[0]}; put them there, take them out "
            f"of the annotations{leave_out}"
        )
    for name in absent:
        defects.note(ABSENT, str(name))


class ImageReader(Reader):
    """Reads a folder of images without annotations, to predict on."""

    name = "images"
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
