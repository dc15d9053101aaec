"""YOLO's files, VOC's as they are found in the wild, and images that two sets share."""

from backbones.errors import InputError
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.layouts.defects import Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import find_split, read_source
from detection.data.pixels import read_image

import numpy as np
import pytest
from annotation_files import obj, records_of, voc
from detectron2.data import DatasetCatalog
from PIL import Image


def test_yolo_is_read_as_coco_is(yolo, shapes):
    ours, classes, _ = records_of(find_split(str(yolo), "train", "--train"))
    theirs, expected, _ = records_of(shapes / "annotations" / "train.json")
    assert classes == expected
    for a, b in zip(ours, theirs, strict=True):
        assert [x["category_id"] for x in a["annotations"]] == [x["category_id"] for x in b["annotations"]]
        boxes = [[x["bbox"] for x in r["annotations"]] for r in (a, b)]
        np.testing.assert_allclose(*(np.reshape(x, (-1, 4)) for x in boxes), atol=1e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "neither `class x y"),
        ("9 0.5 0.5 0.2 0.2", "classes 0 to 4"),
        ("-1 0.5 0.5 0.2 0.2", "neither"),
        ("0 0.5 x 0.2 0.2", "is not `class x y width height`"),
        ("0 64 64 20 20", "is in pixels"),
    ],
)
def test_broken_labels_are_named(yolo, line, message):
    (yolo / "labels" / "val" / "00000.txt").write_text(f"\n{line}\n")
    with pytest.raises(InputError, match=rf"00000\.txt:2: .*{message}"):
        records_of(f"{yolo / 'data.yaml'}:val")


def test_polygons_missing_labels_and_lists_of_images(yolo):
    (yolo / "labels" / "val" / "00000.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.8\n")
    (yolo / "labels" / "val" / "00001.txt").unlink()
    (yolo / "val.txt").write_text("./images/val/00000.png\nimages/val/00001.png\nimages/val/00001.png\n")
    (yolo / "data.yaml").write_text("val: val.txt\nnames: {0: a, 1: b}\n")
    records, classes, lines = records_of(f"{yolo / 'data.yaml'}:val")
    assert classes == ("a", "b") and len(records) == 2 and records[1]["annotations"] == []
    np.testing.assert_allclose(records[0]["annotations"][0]["bbox"], np.array([0.1, 0.2, 0.5, 0.8]) * 128, atol=1e-3)
    assert any("listed more than once" in line for line in lines)
    for broken, message in (("names: 3", "must list the classes"), ("names: [a]\nval: nowhere", "neither a folder")):
        (yolo / "data.yaml").write_text(broken)
        with pytest.raises(InputError, match=message):
            records_of(f"{yolo / 'data.yaml'}:val")


def test_voc_in_the_wild(tmp_path):
    bare = "<name>{}</name><bndbox><xmin>{}</xmin><ymin>2.5</ymin><xmax>30.25</xmax><ymax>20</ymax></bndbox>"
    root = voc(tmp_path, [bare.format("Cat", 1), bare.format("cat", 0), bare.format("dog ", 3.5)])
    records, classes, lines = records_of(f"{root}:train")
    assert classes == ("Cat", "dog") and [a["category_id"] for a in records[0]["annotations"]] == [0, 0, 1]
    assert records[0]["annotations"][2]["bbox"] == [2.5, 1.5, 30.25, 20]
    said = "\n".join(lines)
    assert "1 objects whose class is written in another case" in said and "VOC_FIRST_PIXEL 0" in said
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.DATASETS.VOC_FIRST_PIXEL = (), (f"{root}:train",), 0
    resolve_datasets(cfg)
    assert DatasetCatalog.get(f"{root}:train")[0]["annotations"][2]["bbox"] == [3.5, 2.5, 30.25, 20]


def test_images_in_training_and_test_are_warned_of(tmp_path):
    root = voc(tmp_path / "v", [obj(1, 1, 9, 9)])
    copy = voc(tmp_path / "w", [obj(1, 1, 9, 9)])
    other = voc(tmp_path / "o", [obj(1, 1, 9, 9)])
    Image.new("RGB", (60, 40), "red").save(other / "JPEGImages" / "1.jpg")

    def warnings(test):
        cfg = default_config()
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (f"{root}:train",), (f"{test}:val",)
        return [line for line in resolve_datasets(cfg) if "warning" in line]

    for same in (root, copy):  # one file, or one content
        assert "1 of 1 images are in the training data too" in warnings(same)[0]
    assert warnings(other) == []


def test_photographs_that_lie_on_their_side_are_measured_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    (record,) = read_source(str(tmp_path), Defects(), ReaderOptions()).records
    assert (record["width"], record["height"]) == (20, 40) and read_image(record, "RGB").shape == (40, 20, 3)


def test_what_is_not_yolo_says_so(yolo):
    file = yolo / "data.yaml"
    for content, message in (
        ("val: images/val\nnames: {1: a, 2: b}", "number them from 0 on"),
        ("val: labels/val\nnames: [a]", "there is no image in labels/val"),
        ("date: 2024-13-01\nnames: [a]", "broken YAML"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            records_of(f"{file}:val")
    file.write_text("val: images/val\nnames: {0: a, '1': b, 2: c, 3: d, 4: e}\n")
    assert records_of(f"{file}:val")[1] == tuple("abcde")
    (yolo / "labels" / "val" / "00000.txt").write_bytes(b"0 0.5 \xff\n")
    with pytest.raises(InputError, match=r"00000\.txt: is no text in UTF-8"):
        records_of(f"{file}:val")
