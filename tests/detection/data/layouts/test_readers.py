"""Annotations from outside: what is read, what is mended and counted, what is refused and how it says so."""

import json
import shutil
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.layouts.coco import load_coco, write_coco
from detection.data.layouts.coco_folder import find_images
from detection.data.layouts.defects import (
    INVERTED,
    LISTED_TWICE,
    MISSING_DIFFICULT,
    NO_AREA,
    NOT_FINITE,
    OUTSIDE,
    OVER_EDGE,
    PARENT_CLASS,
    SAME_NAME,
    Defects,
    clean_box,
)
from detection.data.layouts.sources import data_splits
from detection.data.layouts.voc import load_voc

import numpy as np
import pytest
from annotation_files import H, W, coco, obj, voc
from detectron2.data import DatasetCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from pycocotools.coco import COCO
from run_tools import DATA


def test_voc_boxes_become_continuous(tmp_path):
    whole = obj(1, 1, W, H)
    source = load_voc(voc(tmp_path, [whole, obj("2.5", 3, 10, 12, "dog")]), "train", Defects())
    records, classes = source.records, source.classes
    assert classes == ["cat", "dog"]
    assert [a["category"] for a in records[0]["annotations"]] == ["cat", "dog"]
    assert [a["bbox"] for a in records[0]["annotations"]] == [[0, 0, W, H], [1.5, 2, 10, 12]]
    assert (records[0]["width"], records[0]["height"], records[0]["image_id"]) == (W, H, "1")


def test_voc_defects_are_counted_and_not_fatal(tmp_path):
    objects = [
        obj(5, 5, 5, 5),
        obj(9, 5, 2, 8),
        obj(W + 10, 5, W + 20, 8),
        obj(30, 5, W + 20, 8),
        obj("nan", 5, 20, 8),
        obj(3, 4, 9, 9, difficult=""),
        obj(3, 4, 9, 9, difficult="<difficult>1</difficult>"),
    ]
    defects = Defects()
    records = load_voc(voc(tmp_path, objects, size=False), "train", defects).records
    assert defects.counts == {NO_AREA: 1, INVERTED: 1, OUTSIDE: 1, OVER_EDGE: 1, NOT_FINITE: 1, MISSING_DIFFICULT: 1}
    assert [a["difficult"] for a in records[0]["annotations"]] == [0, 0, 1]
    assert records[0]["annotations"][0]["bbox"] == [29, 4, W, 8]
    assert "1 boxes of no area, dropped (first: 1.xml)" in defects.lines()


def test_a_hair_over_the_edge_is_no_defect():
    defects = Defects()
    assert clean_box([0, 0, W + 0.4, H], W, H, defects, "x") == [0, 0, W, H]
    assert not defects.counts


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda r: (r / "Annotations" / "1.xml").write_text("<annotation><obj"), r"1\.xml: broken XML"),
        (lambda r: (r / "Annotations" / "1.xml").rename(r / "Annotations" / "2.xml"), r"1\.xml: missing, but listed"),
        (lambda r: (r / "JPEGImages" / "1.jpg").unlink(), r"1 of 1 images are absent, first: the image 1 of 1\.xml"),
        (lambda r: (r / "ImageSets" / "Main" / "train.txt").unlink(), "no such split.*has val"),
        (lambda r: (r / "ImageSets" / "Main" / "train.txt").write_text(""), "lists no image"),
        (lambda r: voc(r, ["<bndbox/>"]), "no <name>"),
        (lambda r: voc(r, ["<name>cat</name>"]), "lacks a number"),
        (lambda r: voc(r, [obj(1, 1, "x", 4)]), "lacks a number"),
    ],
)
def test_broken_voc_names_the_file(tmp_path, break_it, message):
    root = voc(tmp_path, [obj(1, 1, 9, 9)])
    break_it(root)
    with pytest.raises(InputError, match=message):
        load_voc(root, "train", Defects())


def register(train, test):
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(map(str, train)), tuple(map(str, test))
    return cfg, resolve_datasets(cfg)


def test_classes_are_those_of_all_training_data(tmp_path):
    cats, file = voc(tmp_path / "v", [obj(1, 1, 9, 9, "cow")]), coco(tmp_path / "c")
    cfg, _ = register([f"{cats}:train", file], [file])
    assert cfg.DATASETS.CLASSES == ("cow", "cat", "dog") and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert DatasetCatalog.get(str(file))[0]["annotations"][0]["category_id"] == 2
    with pytest.raises(
        InputError, match=r"train.json: its classes are not those to learn\n(.*\n)*cow +yes +no\ncat +no +yes\n"
    ):
        register([f"{cats}:train"], [file])


def test_test_data_that_declares_fewer_classes_is_refused(tmp_path):
    train = coco(tmp_path / "c")
    content = json.loads(train.read_text())
    fewer = [c for c in content["categories"] if c["name"] != "dog"]
    kept = [a for a in content["annotations"] if a["category_id"] in {c["id"] for c in fewer}]
    val = train.with_name("val.json")
    val.write_text(json.dumps(content | {"categories": fewer, "annotations": kept}))
    name = f"{val}:{tmp_path / 'c' / 'images' / 'train'}"
    with pytest.raises(InputError, match=r"train: its classes are not those to learn\n(.*\n)*dog +yes +no\n"):
        register([train], [name])
    cows = voc(tmp_path / "v", [obj(1, 1, 9, 9, "cow")])
    register([train, f"{cows}:train"], [name])  # of joined training data, test data may be a part
    register([], [name])  # a detector of more classes may be tested on fewer


def test_data_without_a_box_cannot_be_trained_on(tmp_path):
    empty = voc(tmp_path, [obj(5, 5, 5, 5)])
    with pytest.raises(InputError, match="no usable box to train on; 1 boxes of no area"):
        register([f"{empty}:train"], [f"{empty}:val"])


def test_an_image_listed_twice_counts_once(tmp_path):
    root = voc(tmp_path, [obj(1, 1, 9, 9)])
    (root / "ImageSets" / "Main" / "train.txt").write_text("1\n1\n")
    defects = Defects()
    records = load_voc(root, "train", defects).records
    assert len(records) == 1 and defects.counts == {LISTED_TWICE: 1}


def test_coco_categories_become_contiguous_in_the_order_of_their_ids(tmp_path):
    source = load_coco(coco(tmp_path), None, Defects())
    assert source.declared and source.category_ids == {"cat": 3, "dog": 90}
    assert source.classes == ["cat", "dog"]
    annotation = source.records[0]["annotations"][0]
    assert annotation["category"] == "dog" and annotation["bbox"] == [1, 2, 11, 22] and annotation["area"] == 150


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"id": 5, "image_id": 8, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "image_id 8 is not in"),
        ({"annotations": [{"id": 5, "image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4]}]}, "category_id 4 is not"),
        ({"annotations": [{"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]}, r"is not \[x, y, width"),
        ({"annotations": [{"id": 5, "image_id": 7, "category_id": 3}]}, r"annotations\[0\] lacks `bbox`"),
        ({"annotations": [{"id": 5, "image_id": [7], "category_id": 3, "bbox": []}]}, r"`image_id` cannot be \[7\]"),
        ({"images": [{"id": 7, "file_name": 5, "width": W, "height": H}]}, "`file_name` cannot be 5"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": None, "height": H}]}, "`width` cannot be None"),
        ({"annotations": None}, "no list `annotations`"),
        ({"images": []}, "`images` is empty"),
        ({"categories": []}, "`categories` is empty"),
        ({"images": [{"id": 7, "file_name": "b.png", "width": W, "height": H}]}, r"b\.png in none of"),
        ({"images": 2 * [{"id": 7, "file_name": "a.png", "width": W, "height": H}]}, "image id 7 is given twice"),
    ],
)
def test_broken_coco_names_file_and_entry(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_coco(coco(tmp_path, **changes), None, Defects())


def test_coco_that_is_no_json(tmp_path):
    path = coco(tmp_path)
    path.write_text('{"images": [')
    with pytest.raises(InputError, match=r"train\.json: broken JSON"):
        load_coco(path, None, Defects())
    with pytest.raises(InputError, match=r"no\.json: no such file"):
        load_coco(tmp_path / "no.json", None, Defects())


def test_coco_survives_the_way_through(tmp_path):
    """A file as COCO's own: 80 categories whose ids have gaps, polygons, a crowd, images below images/train2017."""
    categories = [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES if c["isthing"]]
    source = coco(tmp_path, categories=categories, annotations=list(coco_annotations([c["id"] for c in categories])))
    source = source.rename(source.with_name("instances_train2017.json"))
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "train2017")
    assert find_images(source, ["a.png"])["a.png"].parent.name == "train2017"
    cfg, _ = register([source], [source])
    classes = cfg.DATASETS.CLASSES
    write_coco(DatasetCatalog.get(str(source)), classes, tmp_path / "out.json")
    before, after = COCO(str(source)), COCO(str(tmp_path / "out.json"))
    assert len(classes) == 80 and classes[0] == "person" and classes[-1] == "toothbrush"
    theirs = sorted((a["area"], a["bbox"], a["iscrowd"]) for a in before.anns.values())
    ours = sorted((a["area"], a["bbox"], a["iscrowd"]) for a in after.anns.values())
    assert len(ours) == 80 and sum(crowd for *_, crowd in ours) == 1
    for (area, box, crowd), (our_area, our_box, our_crowd) in zip(theirs, ours, strict=True):
        assert area == our_area and crowd == our_crowd
        np.testing.assert_allclose(box, our_box, atol=0.01)


def coco_annotations(ids):
    """One object of each category, with its outline; the last is a crowd."""
    for i, category in enumerate(ids, 1):
        x, y, w, h = i / 3, i / 5, 10.25 + i / 7, 8.5 + i / 11
        entry = {"id": 10 * i, "image_id": 7, "category_id": category, "bbox": [x, y, w, h], "area": w * h / 2}
        crowd = i == len(ids)
        runs, triangle = [W * H // 2, 5, W * H - W * H // 2 - 5], [x, y, x, y + h, x + w, y]
        outline = {"counts": runs, "size": [H, W]} if crowd else [triangle]
        yield entry | {"iscrowd": int(crowd), "segmentation": outline}


def test_the_two_boxes_of_no_area_in_bccd_are_dropped():
    defects = Defects()
    source = load_voc(DATA / "bccd", "test", defects)
    assert source.classes == ["Platelets", "RBC", "WBC"]
    counts = Counter(a["category"] for r in source.records for a in r["annotations"])
    assert counts == {"RBC": 37, "WBC": 3, "Platelets": 2}
    assert defects.counts == {NO_AREA: 2}


def test_data_folder_of_either_layout(tmp_path, shapes):
    root = voc(tmp_path / "v", [obj(1, 1, 9, 9)])
    assert data_splits(str(root)) == (f"{root}:train", f"{root}:val")
    assert [Path(s).name for s in data_splits(str(shapes))] == ["train.json", "val.json"]
    (tmp_path / "e").mkdir()
    with pytest.raises(InputError, match=r"holds no annotations that can be read\. Data can be .*; voc: "):
        data_splits(str(tmp_path / "e"))
    with pytest.raises(InputError, match="is no folder"):
        data_splits(str(tmp_path / "none"))


def test_builtin_names_lie_below_detectron2_datasets(tmp_path, monkeypatch):
    voc(tmp_path / "VOC2007", [obj(1, 1, 9, 9)])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("voc_2007_train",), ("voc_2007_val",)
    lines = resolve_datasets(cfg)
    assert cfg.DATASETS.CLASSES == ("cat",) and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    assert lines[0] == "read as voc: voc_2007_train, voc_2007_val"
    assert lines[1] == "voc_2007_train: 1 images, 1 boxes (cat 1)"


def categories(*entries):
    return {"categories": [{"id": i, "name": name, "supercategory": above} for i, name, above in entries]}


def test_a_repeated_category_id_is_refused(tmp_path):
    path = coco(tmp_path, **categories((90, "dog", ""), (90, "cat", "")))
    with pytest.raises(InputError, match=r"category id 90 is given twice, for 'dog' and 'cat'"):
        load_coco(path, None, Defects())


def test_two_ids_of_one_name_are_joined_and_parents_without_boxes_left_out(tmp_path):
    defects = Defects()
    many = categories((0, "pets", "none"), (3, "cat", "pets"), (7, "dog", "pets"), (90, "dog", "pets"))
    source = load_coco(coco(tmp_path, **many), None, defects)
    assert source.classes == ["cat", "dog"] and source.category_ids == {"cat": 3, "dog": 7}
    assert source.records[0]["annotations"][0]["category"] == "dog" and source.left_out == ("pets",)
    assert defects.counts == {PARENT_CLASS: 1, SAME_NAME: 1}
    assert any("pets, id 0 in train.json" in line for line in defects.lines())


def test_a_parent_class_may_have_boxes_in_one_split_only(tmp_path):
    many = categories((3, "cat", "dog"), (90, "dog", "none"))
    train, val = coco(tmp_path / "train", **many), coco(tmp_path / "val", **many, annotations=[])
    cfg, _ = register([train], [val])
    assert cfg.DATASETS.CLASSES == ("cat", "dog")


def test_an_image_of_another_split_never_stands_in_for_an_absent_one(tmp_path):
    """COCO's images/train has no b.png, and images/val has one."""
    image = {"id": 8, "file_name": "b.png", "width": W, "height": H}
    path = coco(tmp_path, images=[{"id": 7, "file_name": "a.png", "width": W, "height": H}, image])
    (tmp_path / "images" / "val").mkdir()
    shutil.copy(tmp_path / "images" / "train" / "a.png", tmp_path / "images" / "val" / "b.png")
    with pytest.raises(InputError, match=r"1 of 2 images are absent, first: b\.png"):
        load_coco(path, None, Defects())


def test_a_test_without_boxes_is_warned_of(tmp_path):
    train = coco(tmp_path / "train")
    for changes, message in (({"annotations": []}, "AP is not defined"), ({"annotations": None}, "no AP")):
        val = coco(tmp_path / "val", **changes)
        if changes["annotations"] is None:
            content = json.loads(val.read_text())
            del content["annotations"]
            val.write_text(json.dumps(content))
        assert any(line.startswith("warning") and message in line for line in register([train], [val])[1])
