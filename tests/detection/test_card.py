"""The model card of a real run of a detector."""

import json
import re

import pytest


@pytest.fixture
def card(detector_run):
    return (detector_run / "model_card.md").read_text()


def test_the_card_has_the_data_and_the_figures_of_the_run(card, detector_run, shapes):
    content = json.loads((shapes / "annotations" / "train.json").read_text())
    crosses = sum(a["category_id"] == 0 for a in content["annotations"])
    assert re.search(rf"^\| cross \| {crosses} \| \d+ \|$", card, re.M)
    assert re.search(rf"\| training \| 16 \| {len(content['annotations'])} \|$", card, re.M)
    (figures,) = json.loads((detector_run / "results.json").read_text()).values()
    assert f"| AP50 | {figures['AP50']:.4g} |" in card
    assert "60 iterations of 3 images" in card and "Faster R-CNN on resnet18" in card
    assert "random weights" in card and "The test data have 6 images" in card


def test_the_code_of_the_card_loads_the_detector(card, detector_run, shapes, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    monkeypatch.chdir(detector_run)
    photo = next((shapes / "images" / "val").glob("*.png"))
    names = {}
    exec(code.replace("photo.jpg", str(photo)), names)
    assert len(names["detections"].boxes) == len(names["detections"].names)
