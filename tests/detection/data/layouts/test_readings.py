"""Folders that can be read in several ways: the same boxes are no question, other boxes are."""

import json

from backbones.errors import InputError
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.layouts.defects import Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import data_splits, read_source, splits_of

import layouts
import pytest
from layouts import SAMPLES, of


def read(name, **options):
    return read_source(str(name), Defects(), ReaderOptions(**options))


def count(source):
    return len(source.records), sum(len(r["annotations"]) for r in source.records)


def test_xml_and_the_tables_of_its_splits(tmp_path):
    """The tables know the splits."""
    layouts.xml_and_images(tmp_path)
    for split in ("train", "test"):
        layouts.table(tmp_path / "data" / f"{split}_labels.csv", of(split) + (of("val") if split == "test" else []))
    assert data_splits(str(tmp_path)) == (f"{tmp_path}:train", f"{tmp_path}:test")
    train = read(f"{tmp_path}:train")
    assert (train.layout, train.agrees, *count(train)) == ("table", ("voc",), 3, 5)
    assert count(read(f"{tmp_path}:test")) == (2, 6)
    assert set(splits_of(tmp_path, "voc")) == {"all"} and count(read(tmp_path, format="voc")) == (5, 11)


def test_the_reading_with_more_labelled_images_is_taken_and_named(tmp_path):
    layouts.xml_and_images(tmp_path)
    layouts.table(tmp_path / "data" / "train_labels.csv", of("train"))
    assert splits_of(tmp_path) == {"all": f"{tmp_path}:all"}
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (f"{tmp_path}:all",)
    assert resolve_datasets(cfg)[0] == f"read as voc (with the boxes of table): {tmp_path}:all"


def test_files_that_are_named_by_a_reading(tmp_path):
    """COCO's files beside YOLO's label files of the same images: the folder's name is kept, to say both readings."""
    layouts.yolo_standard(tmp_path)
    for split in ("train", "val", "test"):
        layouts.coco(tmp_path / f"{split}.json", of(split), prefix=f"images/{split}/")
    assert splits_of(tmp_path)["val"] == f"{tmp_path}:val"
    source = read(f"{tmp_path}:val")
    assert (source.layout, source.agrees, *count(source)) == ("coco", ("yolo",), 1, 3)


def test_other_boxes_are_a_question(tmp_path):
    layouts.xml_and_images(tmp_path)
    table = tmp_path / "labels.csv"
    layouts.table(table, SAMPLES)
    assert read(tmp_path).agrees == ("table",)
    table.write_text(table.read_text().replace("d.jpg,64,40,cat,9", "d.jpg,64,40,cat,13"))
    for way in (lambda: splits_of(tmp_path), lambda: read(tmp_path)):
        with pytest.raises(InputError, match=r"--format voc \(all\) or --format table \(all\)\. They differ: images/d"):
            way()
    assert read(tmp_path, format="table").layout == "table"
    layouts.image(tmp_path / "images" / "new.jpg", SAMPLES[0])
    layouts.table(table, [*SAMPLES[1:], layouts.Sample("new", "train", SAMPLES[0].boxes)])
    with pytest.raises(InputError, match=r"They differ: only table has boxes of images/new\.jpg"):
        splits_of(tmp_path)


def test_a_reading_without_its_images_does_not_count(tmp_path):
    layouts.roboflow_coco(tmp_path)
    layouts.xml(tmp_path / "old" / "gone.xml", layouts.Sample("gone", "train", [("cat", 1, 1, 9, 9)]))
    assert set(splits_of(tmp_path)) == {"train", "val", "test"} and read(f"{tmp_path}:val").agrees == ()


def test_label_files_without_names_of_classes_are_no_second_reading(tmp_path):
    layouts.roboflow_coco(tmp_path)
    for s in SAMPLES:
        layouts.yolo(tmp_path / layouts.ROBOFLOW[s.split] / f"{s.name}.txt", s)
    assert read(f"{tmp_path}:val").layout == "coco"
    assert count(read(f"{tmp_path}:val")) == (1, 3)


def test_a_broken_reading_is_a_question(tmp_path):
    layouts.xml_and_images(tmp_path)
    layouts.table(tmp_path / "labels.csv", SAMPLES)
    (tmp_path / "annotations" / "d.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"--format table \(all\)\. voc fails: .*d\.xml: broken XML"):
        splits_of(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(InputError, match=r"choose with --format voc \(all\) or --format coco \(all\)"):
        splits_of(tmp_path)
