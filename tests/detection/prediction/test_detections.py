"""The forms that detections are given out in."""

import json
import sys

from backbones.errors import InputError
from detection.prediction.detections import Detections

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def detections():
    image = np.zeros((60, 80, 3), np.uint8)
    boxes = np.array([[10, 20, 30, 50], [40.5, 5, 70, 25.25], [0, 0, 9, 9]], np.float32)
    scores, kinds = np.array([0.9, 0.5, 0.25], np.float32), np.array([2, 0, 2])
    return Detections(boxes, scores, kinds, ("cat", "dög", "cow"), (60, 80), image, "RGB")


def test_plain_values_and_back(detections):
    content = json.loads(detections.to_json())
    assert (content["width"], content["height"]) == (80, 60)
    first = {"box": [40.5, 5.0, 70.0, 25.25], "score": 0.5, "class": "cat", "class_id": 0}
    assert content["detections"][1] == first
    again = Detections.from_dict(content, detections.classes, detections.source)
    assert np.array_equal(again.boxes, detections.boxes) and np.array_equal(again.scores, detections.scores)
    assert again.names == detections.names == ["cow", "cat", "cow"] and again.size == detections.size


def test_coco_results(detections):
    assert detections.to_coco(7)[1] == {"image_id": 7, "category_id": 0, "bbox": [40.5, 5.0, 29.5, 20.25], "score": 0.5}
    assert [d["category_id"] for d in detections.to_coco(7, {"cat": 17, "cow": 21})] == [21, 17, 21]
    with pytest.raises(InputError, match="category_ids: gives no id for cow"):
        detections.to_coco(7, {"cat": 17})


def test_chosen_detections_and_counts(detections):
    assert detections.counts() == {"cat": 1, "cow": 2} and len(detections) == 3
    assert detections[detections.scores > 0.4].names == ["cow", "cat"] and detections[:1].boxes.shape == (1, 4)
    assert len(detections[2]) == 1 and len(detections[detections.scores > 1]) == 0 and detections[:0].to_coco(1) == []


def test_pictures_have_the_size_of_the_image(detections):
    picture = detections.draw()
    assert isinstance(picture, Image.Image) and picture.size == (80, 60) and np.asarray(picture).any()
    assert detections.draw(scale=2).size == (160, 120) and not detections.source.any()


def test_supervision(detections):
    supervision = pytest.importorskip("supervision", reason="pip install --no-deps supervision")
    theirs = detections.to_supervision()
    assert isinstance(theirs, supervision.Detections) and len(theirs) == 3
    assert np.array_equal(theirs.xyxy, detections.boxes) and np.array_equal(theirs.class_id, detections.class_ids)
    assert theirs.data["class_name"].tolist() == detections.names
    assert len(detections[:0].to_supervision()) == 0


def test_without_supervision(detections, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"pip install 'residet\[supervision\]'"):
        detections.to_supervision()
