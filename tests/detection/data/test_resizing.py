"""Resizing of images, against detectron2's by PIL."""

from detection.data.resizing import Resize, ResizeShortestEdge, channels_first

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

SIZES = [(30, 40, 80, 100), (61, 47, 20, 35), (33, 33, 33, 90)]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_pils_but_for_a_level(size, flipped):
    image = np.random.default_rng(0).integers(0, 256, (*size[:2], 3), np.uint8)
    image = image[:, ::-1] if flipped else image
    ours = Resize(*size, Image.BILINEAR).apply_image(image).astype(int)
    pils = T.ResizeTransform(*size, Image.BILINEAR).apply_image(image).astype(int)
    assert ours.shape == pils.shape
    difference = np.abs(ours - pils)
    assert difference.max() <= 1 and difference.mean() < 0.25  # of noise, which shows most


@pytest.mark.parametrize("flips", [(), (1,), (0,), (0, 1)])
def test_channels_first(flips):
    image = np.flip(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8), flips)
    tensor = channels_first(image)
    assert tensor.is_contiguous() and torch.equal(tensor, torch.from_numpy(image.transpose(2, 0, 1).copy()))


def test_the_short_side_gets_the_size_and_boxes_go_along():
    transform = ResizeShortestEdge(60, 100).get_transform(np.zeros((30, 40, 3), np.uint8))
    assert type(transform) is Resize and (transform.new_h, transform.new_w) == (60, 80)
    np.testing.assert_allclose(transform.apply_box(np.array([[1.0, 2, 3, 4]])), [[2, 4, 6, 8]])
