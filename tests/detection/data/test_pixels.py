"""Image files as people have them: every kind gives the same pixels to the mapper, the report and the size reader."""

import os

from backbones.errors import InputError
from detection.config import default_config
from detection.data.layouts.defects import Defects
from detection.data.layouts.images import image_size
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import read_source
from detection.data.mapper import DetectionMapper
from detection.data.pixels import read_image

import cv2
import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

W, H = 60, 40
RAMP = np.linspace(0, 255, W * H).reshape(H, W).astype(np.uint8)
COLOUR = np.stack([RAMP, 255 - RAMP, np.full_like(RAMP, 60)], axis=2)
ALPHA = np.concatenate([COLOUR, np.zeros((H, W, 1), np.uint8)], axis=2)
GREY = np.repeat(RAMP[:, :, None], 3, axis=2)

# Name of a file -> how it is written, its pixels in RGB, and by how much they may differ.
KINDS = {
    "colour.jpg": (lambda path: Image.fromarray(COLOUR).save(path, quality=95), COLOUR, 12),
    "COLOUR.JPG": (lambda path: Image.fromarray(COLOUR).save(path, "JPEG", quality=95), COLOUR, 12),
    "colour.JPEG": (lambda path: Image.fromarray(COLOUR).save(path, "JPEG", quality=95), COLOUR, 12),
    "cmyk.jpg": (lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path, quality=95), COLOUR, 16),
    "grey.jpg": (lambda path: Image.fromarray(RAMP).save(path, quality=95), GREY, 12),
    "grey.png": (lambda path: Image.fromarray(RAMP).save(path), GREY, 0),
    "grey with alpha.png": (lambda path: Image.fromarray(RAMP).convert("LA").save(path), GREY, 0),
    "palette.png": (lambda path: Image.fromarray(RAMP).convert("P").save(path), GREY, 0),
    "alpha.png": (lambda path: Image.fromarray(ALPHA, "RGBA").save(path), COLOUR, 0),
    "16 bit.png": (lambda path: Image.fromarray(RAMP.astype(np.uint16) * 257).save(path), GREY, 0),
    "16 bit.tif": (lambda path: Image.fromarray(RAMP.astype(np.uint16) * 257).save(path), GREY, 0),
    "16 bit colour.png": (lambda path: cv2.imwrite(str(path), COLOUR[:, :, ::-1].astype(np.uint16) * 257), COLOUR, 0),
    "32 bit.tiff": (lambda path: Image.fromarray(RAMP.astype(np.int32) * 1000).save(path), GREY, 1),
    "float.tiff": (lambda path: Image.fromarray(RAMP.astype(np.float32) / 255).save(path), GREY, 1),
    "colour.webp": (lambda path: Image.fromarray(COLOUR).save(path, lossless=True), COLOUR, 0),
    "colour.bmp": (lambda path: Image.fromarray(COLOUR).save(path), COLOUR, 0),
    "colour.TIFF": (lambda path: Image.fromarray(COLOUR).save(path), COLOUR, 0),
    "grey.gif": (
        lambda path: Image.fromarray(RAMP).save(path, save_all=True, append_images=[Image.new("L", (W, H))]),
        GREY,
        0,
    ),
    "Häuser ü 圖 1.png": (lambda path: Image.fromarray(COLOUR).save(path), COLOUR, 0),
}


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image(tmp_path, name):
    write, pixels, tolerance = KINDS[name]
    write(tmp_path / name)
    (record,) = read_source(str(tmp_path), Defects(), ReaderOptions()).records
    assert (record["width"], record["height"]) == image_size(tmp_path / name) == (W, H)
    read = read_image(record, "RGB")
    assert read.dtype == np.uint8 and read.shape == (H, W, 3)
    np.testing.assert_allclose(read.astype(int), pixels, atol=tolerance)
    np.testing.assert_array_equal(read_image(record, "BGR"), read[:, :, ::-1])
    cfg = default_config()
    cfg.INPUT.MIN_SIZE_TEST = 0
    mapped = DetectionMapper(cfg, False)(record)["image"].numpy()
    np.testing.assert_array_equal(mapped, read.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["RGB", "L", "P", "CMYK"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_ordinary_images_are_read_as_detectron2_reads_them(tmp_path, kind, order):
    path = tmp_path / ("a.png" if kind != "CMYK" else "a.jpg")
    Image.fromarray(COLOUR).convert(kind).save(path)
    ours = read_image({"file_name": str(path)}, order)
    np.testing.assert_array_equal(ours, detection_utils.read_image(str(path), order))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_images_are_turned_upright(tmp_path, orientation, suffix):
    """As detectron2 turns them (but for TIFF, which it turns twice); the size that readers give is the upright one."""
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(COLOUR).save(path, exif=exif)
    size = (H, W) if orientation > 4 else (W, H)
    assert image_size(path) == size
    record = {"file_name": str(path), "width": size[0], "height": size[1]}
    if suffix == ".tif":
        path = tmp_path / "a.png"
        Image.fromarray(COLOUR).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(record, "RGB"), detection_utils.read_image(str(path), "RGB"))


def test_annotations_of_the_image_as_it_is_stored_keep_it_as_it_is(tmp_path):
    """Tools that do not know EXIF label the stored image, and state its size."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    read = read_image({"file_name": str(tmp_path / "a.png"), "width": W, "height": H}, "RGB")
    np.testing.assert_array_equal(read, COLOUR)
    with pytest.raises(InputError, match=r"a\.png: the image is 40x60, its annotation says 40x62"):
        read_image({"file_name": str(tmp_path / "a.png"), "width": H, "height": W + 2}, "RGB")


@pytest.mark.parametrize(("width", "height"), [(W - 1, H), (W, H + 1), (W + 1, H + 1)])
def test_a_size_that_a_tool_has_rounded_is_taken(width, height, tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    read = read_image({"file_name": str(tmp_path / "a.png"), "width": width, "height": height}, "RGB")
    np.testing.assert_array_equal(read, COLOUR)


def _fifo(path):
    os.mkfifo(path)


def _cut_off(path):
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(path.read_bytes()[:-600])


def _narrow(path):
    Image.new("L", (60000, 1)).save(path)


@pytest.mark.parametrize(
    ("write", "message", "head_tells"),
    [
        (_fifo, "is missing, or no regular file", True),
        (lambda path: None, "is missing, or no regular file", True),
        (lambda path: path.mkdir(), "is missing, or no regular file", True),
        (lambda path: path.write_bytes(b""), "cannot be decoded as an image", True),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)), "cannot be decoded as an image", True),
        (lambda path: path.write_text("<html>not found</html>"), "cannot be decoded as an image", True),
        (_cut_off, "cannot be decoded as an image", False),
        (_narrow, "is 60000x1 pixels, more than 200 times as long as wide", True),
    ],
)
def test_bad_images_are_named(tmp_path, write, message, head_tells):
    path = tmp_path / "a.png"
    write(path)
    with pytest.raises(InputError, match=rf"a\.png: {message}"):
        read_image({"file_name": str(path)}, "RGB")
    if head_tells:
        with pytest.raises(InputError, match=rf"a\.png: {message}"):
            image_size(path)
