"""VIA's, LabelMe's and Create ML's JSON: the same boxes as tables have, and broken files name the entry."""

import json

from backbones.errors import InputError
from detection.data.layouts.defects import IGNORED, NO_BOX, NO_CLASS_GIVEN, Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import READERS, read_source, splits_of

import pytest
from annotation_files import coco
from object_files import BOXES, boxes_of, write_createml, write_images, write_labelme, write_via

NAMES = ("via", "labelme", "createml")


def read(name, defects=None):
    return read_source(str(name), defects or Defects(), ReaderOptions())


def reader(name):
    return next(r for r in READERS if r.name == name)


@pytest.mark.parametrize("regions", [list, dict])
@pytest.mark.parametrize("project", [False, True])
def test_via(tmp_path, regions, project):
    write_images(tmp_path / "train")
    write_via(tmp_path / "train" / "via_region_data.json", regions=regions, project=project)
    source = read(splits_of(tmp_path)["train"])
    assert boxes_of(source) == BOXES and source.classes == ["cat", "dog"]


def test_a_via_project_beside_its_export_counts_once(tmp_path):
    write_images(tmp_path)
    write_via(tmp_path / "export.json")
    project = write_via(tmp_path / "project.json", project=True)
    assert boxes_of(read(f"{tmp_path}:all")) == BOXES
    content = json.loads(project.read_text())
    content["_via_img_metadata"]["a.jpg123"]["regions"].pop()
    project.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"export\.json, a\.jpg123 and .*project\.json, a\.jpg123: differ in the objects"
    ):
        read(f"{tmp_path}:all")


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "circle", "cx": 20, "cy": 15, "r": 5}, [15, 10, 25, 20]),
        ({"name": "ellipse", "cx": 20, "cy": 15, "rx": 10, "ry": 5}, [10, 10, 30, 20]),
        ({"name": "ellipse", "cx": 20, "cy": 15, "rx": 10, "ry": 5, "theta": 1.5707963}, [15, 5, 25, 25]),
        ({"name": "polyline", "all_points_x": [3, 9], "all_points_y": [4, 8]}, [3, 4, 9, 8]),
        ({"name": "point", "cx": 3, "cy": 4}, None),
    ],
)
def test_shapes_of_via(tmp_path, shape, box):
    write_images(tmp_path)
    path = tmp_path / "via.json"
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "cat"}}]
    path.write_text(json.dumps({"a": {"filename": "a.jpg", "regions": regions}}))
    defects = Defects()
    found = [a["bbox"] for a in read(path, defects).records[0]["annotations"]]
    assert found == ([pytest.approx(box, abs=1e-4)] if box else []) and defects.counts[NO_BOX] == (box is None)


def test_the_class_is_the_attribute_that_most_regions_have(tmp_path):
    write_images(tmp_path)
    path = write_via(
        tmp_path / "via.json", attributes=lambda c: {"colour": "red" if c == "cat" else "", "kind": {c: True}}
    )
    defects = Defects()
    assert boxes_of(read(path, defects)) == BOXES
    assert any("'kind', which most regions have, not 'colour'" in line for line in defects.lines())
    write_via(path, attributes=lambda c: {"label": c if c == "cat" else ""})
    assert read(path, defects).classes == ["cat"] and defects.counts[NO_CLASS_GIVEN] == 2
    write_via(path, attributes=lambda c: {})
    assert read(path).classes == ["object"]


def test_labelme(tmp_path):
    write_images(tmp_path / "images")
    write_labelme(tmp_path / "labels")
    source = read(splits_of(tmp_path)["all"])
    assert {k: sorted(v) for k, v in boxes_of(source).items()} == {k: sorted(v) for k, v in BOXES.items()}
    path = tmp_path / "labels" / "a.json"
    shapes = [
        {"label": "cat", "points": [[20, 15], [20, 20]], "shape_type": "circle"},
        {"label": "cat", "points": [[3, 4], [9, 4], [9, 8]], "shape_type": "polygon"},
        {"label": "cat", "points": [[3, 4]], "shape_type": "point"},
        {"label": "__ignore__", "points": [[3, 4], [9, 8]], "shape_type": "rectangle"},
    ]
    path.write_text(json.dumps({"shapes": shapes, "imagePath": "..\\elsewhere\\a.jpg", "imageData": None}))
    defects = Defects()
    found = boxes_of(read(f"{tmp_path}:all", defects))["a.jpg"]
    assert found == [((15, 10, 25, 20), "cat"), ((3, 4, 9, 8), "cat")]
    assert defects.counts == {NO_BOX: 1, IGNORED: 1}


def test_createml(tmp_path):
    for split in ("train", "valid"):
        write_images(tmp_path / split)
        write_createml(tmp_path / split / "_annotations.createml.json")
    found = splits_of(tmp_path)
    assert set(found) == {"train", "val"}
    assert boxes_of(read(found["val"])) == BOXES


RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"a": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}},
            r"a: a rect lacks a num",
        ),
        ({"a": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "star"}}]}}, "unknown shape 'star'"),
        ({"a": {"filename": "a.jpg", "regions": [3]}}, r"a: is no image with `filename` and `regions`"),
        ({"a": {"filename": "a.jpg", "regions": []}, "b": 3}, r"b: is no image with"),
        ({"a": {"filename": "z.jpg", "regions": []}}, "1 of 1 images are absent"),
        (
            [{"image": "a.jpg", "annotations": [{"coordinates": {"x": 1}}]}],
            r"x\.json\[0\]: an annotation has no `label`",
        ),
        ([{"image": "a.jpg", "annotations": [{"label": "c", "coordinates": {}}]}], r"\[0\]: an annotation has no"),
        ([{"image": "a.jpg", "annotations": [{"label": "", "coordinates": RECT}]}], "empty label"),
        ([{"image": "a.jpg", "annotations": [{"label": "c", "coordinates": RECT}]}, 3], r"\[1\]: is no object with"),
        ({"shapes": [{"label": "c", "points": [[1, 2]], "shape_type": "circle"}]}, r"shapes\[0\]: has no points"),
        ({"shapes": [{"label": "", "points": [[1, 2], [3, 4]]}]}, r"shapes\[0\]: has no label"),
        ({"shapes": [{"label": "c", "points": [[1, "x"], [3, 4]]}]}, r"shapes\[0\]: has no points of two numbers"),
        ({"shapes": [3, {"points": 1}]}, "has no list `shapes`"),
    ],
)
def test_broken_files_name_the_entry(tmp_path, content, message):
    write_images(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.json")


def test_json_that_is_cut_off_or_nested_too_deep(tmp_path):
    write_images(tmp_path)
    path = write_via(tmp_path / "via.json")
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InputError, match=r"via\.json: broken JSON"):
        read(path)
    path.write_text('{"a": {"filename": "a.jpg", "regions": ' + "[" * 100_000)
    with pytest.raises(InputError, match=r"via\.json: broken JSON \(nested too deep"):
        read(path)


@pytest.mark.parametrize(
    "content", [{}, [], 3, {"a": 1}, [{"image": "a.jpg"}], {"shapes": 3}, {"filename": "a.jpg"}, None]
)
def test_other_json_is_passed_over(tmp_path, content):
    write_images(tmp_path)
    path = tmp_path / "x.json"
    path.write_text("\xff" if content is None else json.dumps(content), encoding="latin-1")
    for name in NAMES:
        assert reader(name).splits(tmp_path) == {} and not reader(name).recognises(path, "")


def test_each_file_has_one_reader(tmp_path):
    """Files of one layout are not taken for another's."""
    write_images(tmp_path)
    files = {"via": write_via(tmp_path / "v.json"), "createml": write_createml(tmp_path / "c.json")}
    files["labelme"] = write_labelme(tmp_path / "l") / "a.json"
    files["coco"] = coco(tmp_path / "coco")
    for name, path in files.items():
        assert [r.name for r in READERS if r.name in NAMES and r.recognises(path, "")] == (
            [name] if name != "coco" else []
        )
