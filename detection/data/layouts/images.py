"""Finds the image files in a folder and reads their sizes, without decoding the images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import ABSENT, Defects
from detection.data.layouts.files import IMAGE_SUFFIXES, all_files, with_suffix
from detection.data.layouts.reader import IncompleteDataError, Reader, ReaderOptions, Source

from PIL import Image

# Number of the EXIF tag for the orientation. Images with an orientation of 5 to 8 are stored lying on their side.
ORIENTATION = 274
# Resized to detectron2's 1333 pixels at most, a longer and narrower image would be narrower than 7 pixels.
_NARROWEST = 200


def list_images(folder: Path) -> list[Path]:
    """Paths of the image files in a folder and in its subfolders, sorted."""
    return with_suffix(all_files(folder), *IMAGE_SUFFIXES)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image in pixels, read from the head of its file.

    The size is that of the upright image, turned as its EXIF orientation says.

    Raises:
        InputError: the file cannot be read as an image, or the image is too narrow.
    """
    with opened_image(path) as image:
        width, height = image.size[::-1] if lies_on_its_side(image) else image.size
    check_sides(path, width, height)
    return width, height


def image_record(path: Path, image_id: str = "", size: tuple[int, int] | None = None) -> dict:
    """A dataset dict without annotations.

    Args:
        path: the image file.
        image_id: id of the image; "" takes the path.
        size: width and height in pixels; None reads them from the file.

    Raises:
        InputError: the size must be read, and the file cannot be read as an image, or the image is too narrow.
    """
    width, height = size or image_size(path)
    return {"file_name": str(path), "image_id": image_id or str(path), "width": width, "height": height}


@contextlib.contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """A context with an image file opened. Errors of reading or decoding the file within the context are InputErrors.

    Raises:
        InputError: the file is missing, is no regular file, or cannot be decoded as an image.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: is missing, or no regular file; put the image there")
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except Exception as e:  # of broken bytes, Pillow's decoders raise nearly anything
        raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether an image is stored with its sides exchanged, so that its EXIF orientation turns it by 90 degrees.

    TIFF files are not meant: Pillow itself gives these upright.
    """
    # For a PNG whose head has no EXIF, Pillow would decode the whole image to look for EXIF behind the pixels.
    exif = image.getexif() if "exif" in image.info and image.format != "TIFF" else {}
    return exif.get(ORIENTATION) in (5, 6, 7, 8)


def check_sides(path: Path, width: int, height: int) -> None:
    """Raises InputError if an image is so narrow that nothing would be left of the image after resizing.

    Args:
        path: the image, for messages.
        width: width in pixels.
        height: height in pixels.
    """
    if max(width, height) > _NARROWEST * min(width, height):
        raise InputError(
            f"{path}: is {width}x{height} pixels, more than {_NARROWEST} times as long as wide; remove the image, or "
            "cut it into pieces"
        )


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
        IncompleteDataError: images are absent, and `options.skip_missing` is not set, or no image is left.
    """
    if not absent:
        return
    if not options.skip_missing or len(absent) == count:
        leave_out = "" if len(absent) == count else ", or leave them out with --skip-missing"
        raise IncompleteDataError(
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
        return Source([image_record(image) for image in list_images(path)], [])
