"""Images on their way into a detector: augmentation that takes the boxes along, and what cannot be mapped."""

from pathlib import Path

from backbones.errors import InputError
from detection.config import default_config
from detection.data.mapper import DetectionMapper, build_pipeline

import numpy as np
import pytest
from annotation_files import H, W
from PIL import Image


@pytest.fixture
def record(tmp_path):
    image = np.zeros((H, W, 3), np.uint8)
    image[10:20, 30:50] = 255
    Image.fromarray(image).save(tmp_path / "i.png")
    box = {"bbox": [30, 10, 50, 20], "bbox_mode": 0, "category_id": 2, "iscrowd": 0}
    crowd = {"bbox": [0, 0, 60, 40], "bbox_mode": 0, "category_id": 0, "iscrowd": 1}
    return {"file_name": str(tmp_path / "i.png"), "width": W, "height": H, "annotations": [crowd, box], "image_id": 1}


@pytest.mark.parametrize("transforms", [[], [{"HorizontalFlip": {"p": 1}}], [{"D4": {}}, {"Affine": {"scale": 0.8}}]])
def test_boxes_follow_the_image(record, transforms):
    cfg = default_config()
    cfg.INPUT.ALBUMENTATIONS = transforms
    cfg.INPUT.MIN_SIZE_TRAIN = (80,)
    out = DetectionMapper(cfg, True)(record)
    ys, xs = np.nonzero(out["image"].numpy().max(axis=0) > 127)
    assert len(out["instances"]) == 1  # not the crowd
    box = out["instances"].gt_boxes.tensor[0].numpy()
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2)
    assert out["instances"].gt_classes.tolist() == [2]
    assert min(out["image"].shape[1:]) == 80


def test_augmentation_follows_numpys_seed(record):
    cfg = default_config()
    cfg.INPUT.ALBUMENTATIONS = [{"RandomBrightnessContrast": {"p": 1.0}}, {"RandomCrop": {"height": 30, "width": 40}}]
    mapper = DetectionMapper(cfg, True)
    np.random.seed(3)
    first, second = mapper(record)["image"], mapper(record)["image"]
    np.random.seed(3)
    assert first.equal(mapper(record)["image"]) and not first.equal(second)


def test_evaluation_takes_no_augmentation(record):
    cfg = default_config()
    cfg.INPUT.ALBUMENTATIONS = [{"HorizontalFlip": {"p": 1}}]
    cfg.INPUT.MIN_SIZE_TEST = H
    out = DetectionMapper(cfg, False)(record)
    assert "instances" not in out and out["image"][0, 15, 40] == 255


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([{"HorizontalFlop": {}}], "did you mean HorizontalFlip"),
        ([{"HorizontalFlip": {"probability": 1}}], "HorizontalFlip: .*probability"),
        (["HorizontalFlip"], "not of the form"),
        ([{"OneOf": {"transforms": [{"Nothing": {}}]}}], "no transform 'Nothing'"),
        ([{"os": {}}], "no transform 'os'"),
    ],
)
def test_bad_transforms_are_named(transforms, message):
    with pytest.raises(InputError, match=message):
        build_pipeline(transforms)


def test_bad_images_are_named(record):
    mapper = DetectionMapper(default_config(), True)
    with pytest.raises(InputError, match="the image is 60x40, its annotation says 62x40"):
        mapper(record | {"width": 62})
    Path(record["file_name"]).write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be decoded"):
        mapper(record)
