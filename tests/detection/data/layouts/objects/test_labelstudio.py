"""Label Studio's own JSON: the same boxes as in the other layouts, regions of every kind, and broken tasks."""

import json

from backbones.errors import InputError
from detection.data.layouts.defects import LABELLED_TWICE, NO_BOX, NO_CLASS_GIVEN, NOT_LABELLED, Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import read_source, splits_of

import pytest
from object_files import BOXES, H, W, boxes_of, write_images, write_label_studio


def read(name, defects=None):
    return read_source(str(name), defects or Defects(), ReaderOptions())


def rounded(found):
    return {name: [(tuple(round(v, 4) for v in box), c) for box, c in objects] for name, objects in found.items()}


@pytest.mark.parametrize(
    "prefix", ["/data/upload/1/0a1b2c3d-", "/data/local-files/?d=photos/", "s3://bucket/photos/", "photos\\"]
)
def test_names_of_images(tmp_path, prefix):
    write_images(tmp_path / "photos")
    path = write_label_studio(tmp_path / "project-1-at-2024-01-01.json", prefix=prefix)
    assert splits_of(tmp_path) == {"all": f"{tmp_path}:all"}
    for name in (path, tmp_path):
        source = read(name)
        assert rounded(boxes_of(source)) == BOXES and source.classes == ["cat", "dog"]
    assert source.layout == "labelstudio"


def test_escaped_names(tmp_path):
    write_images(tmp_path)
    path = write_label_studio(tmp_path / "tasks.json")
    path.write_text(path.read_text().replace("b c.JPG", "b%20c.JPG").replace("\\u00fc", "%C3%BC"))
    assert rounded(boxes_of(read(path))) == BOXES


def test_json_min(tmp_path):
    write_images(tmp_path)
    write_label_studio(tmp_path / "min.json", minimal=True)
    defects = Defects()
    found = rounded(boxes_of(read(tmp_path, defects)))
    # JSON-MIN does not tell an image without objects from a task that nobody has labelled.
    assert found == {name: objects for name, objects in BOXES.items() if objects}
    assert defects.counts[NOT_LABELLED] == 1


def task(*values, **further):
    regions = [{"original_width": W, "original_height": H, "id": str(i), "value": v} for i, v in enumerate(values)]
    return {"data": {"image": "a.jpg"}, "annotations": [{"result": regions, "lead_time": 1}], **further}


RECT = {"x": 50, "y": 25, "width": 20, "height": 10}


@pytest.mark.parametrize(
    ("value", "box"),
    [
        (RECT, [30, 10, 42, 14]),
        # Turned by 90 degrees about (30, 10): 12 pixels wide and 4 high become 4 to the left and 12 down.
        (RECT | {"rotation": 90}, [26, 10, 30, 22]),
        ({"x": 50, "y": 50, "radiusX": 10, "radiusY": 20}, [24, 12, 36, 28]),
        ({"points": [[10, 20], [30, 40], [20, 60]]}, [6, 8, 18, 24]),
        ({"format": "rle", "rle": [1, 2]}, None),
        ({"choices": ["blurred"]}, None),
    ],
)
def test_regions(tmp_path, value, box):
    write_images(tmp_path)
    (tmp_path / "t.json").write_text(json.dumps([task(value | {"rectanglelabels": ["cat"]})]))
    source = read(tmp_path / "t.json", defects := Defects())
    assert [a["bbox"] for a in source.records[0]["annotations"]] == ([pytest.approx(box)] if box else [])
    assert defects.counts == ({NO_BOX: 1} if "rle" in value else {})


def test_the_class_may_be_in_a_region_of_the_same_id(tmp_path):
    write_images(tmp_path)
    content = task(RECT, RECT | {"labels": ["dog"]}, RECT)
    for region in content["annotations"][0]["result"][:2]:
        region["id"] = "one"
    (tmp_path / "t.json").write_text(json.dumps(content))  # one task, as cloud storage has it
    source = read(tmp_path / "t.json", defects := Defects())
    assert source.classes == ["dog"] and defects.counts == {NO_CLASS_GIVEN: 1}


def test_tasks_that_nobody_or_several_have_labelled(tmp_path):
    write_images(tmp_path)
    old, new = ({"result": task(RECT | {"rectanglelabels": [c]})["annotations"][0]["result"]} for c in ("cat", "dog"))
    tasks = [
        {"data": {"image": "a.jpg"}, "annotations": [old, new], "total_annotations": 2},
        {"data": {"image": "b c.JPG"}, "annotations": [old | {"ground_truth": True}, new]},
        {"data": {"image": "ü.png"}, "annotations": [old | {"was_cancelled": True}]},
        {"data": {"image": "empty.png"}, "annotations": [], "predictions": [new]},
    ]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    found = boxes_of(read(tmp_path / "t.json", defects := Defects()))
    assert {name: [c for _, c in objects] for name, objects in found.items()} == {"a.jpg": ["dog"], "b c.JPG": ["cat"]}
    assert defects.counts == {LABELLED_TWICE: 2, NOT_LABELLED: 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([task(RECT), 3], r"t\.json\[1\]: is no task of Label Studio"),
        ([task(RECT | {"x": None})], r"t\.json\[0\]: a rectangle lacks a number"),
        ([task({"points": [[1], [2]]})], r"t\.json\[0\]: a polygon lacks a number"),
        ([task(RECT), {"annotations": 3, "data": {"image": "a.jpg"}}], r"t\.json\[1\]: its `annotations` are no list"),
        ([task(RECT, data={"text": "a"})], r"t\.json\[0\]: its `data` name no image"),
        ([task(RECT, data={"image": "z.jpg"})], r"1 of 1 images are absent, first: z\.jpg of .*t\.json\[0\]"),
    ],
)
def test_broken_tasks(tmp_path, content, message):
    write_images(tmp_path)
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "t.json")


def test_a_turned_rectangle_needs_the_size_of_the_image(tmp_path):
    write_images(tmp_path)
    content = task(RECT | {"rotation": 30})
    del content["annotations"][0]["result"][0]["original_width"]
    (tmp_path / "t.json").write_text(json.dumps([content]))
    with pytest.raises(InputError, match=r"t\.json\[0\]: has a turned rectangle without original_width"):
        read(tmp_path / "t.json")
