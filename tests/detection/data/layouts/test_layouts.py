"""One set in every layout as public data are found: the same splits, images, boxes and classes, and nothing written."""

import shutil
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import ABSENT, EMPTY_OBJECT, NO_ROLE, NO_XML, OTHER_XML, Defects
from detection.data.layouts.files import nearest, role_of, same_role
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import data_splits, find_split, read_source, splits_of

import layouts
import numpy as np
import pytest
from layouts import SAMPLES, SPLIT_LAYOUTS, SPLITS, WHOLE_LAYOUTS, add_strays, snapshot


def boxes_of(name):
    """The boxes by the size and colour-independent name of the image: [(class, x0, y0, x1, y1), …] sorted."""
    source = read_source(name, Defects(), ReaderOptions())
    found = {}
    for record in source.records:
        stem = Path(record["file_name"]).name.rsplit(".", 1)[0].replace("_1", " 1")
        assert stem not in found
        sample = next(s for s in SAMPLES if s.name == stem)
        assert (record["width"], record["height"]) == sample.size
        found[stem] = sorted((a["category"], *np.round(a["bbox"], 4).tolist()) for a in record["annotations"])
    assert set(source.classes) == {"cat", "dog", "cow"}
    return found


def expected(splits):
    return {s.name: sorted(s.boxes) for s in SAMPLES if s.split in splits}


@pytest.mark.parametrize("write", SPLIT_LAYOUTS, ids=lambda write: write.__name__)
def test_data_with_splits(tmp_path, write):
    root = tmp_path / "data"
    write(root)
    add_strays(root)
    before = snapshot(root)
    splits = splits_of(root)
    assert set(splits) == set(SPLITS)
    for split in SPLITS:
        assert boxes_of(splits[split]) == boxes_of(f"{root}:{split}") == expected([split])
    assert data_splits(str(root)) == (splits["train"], splits["test"])
    assert find_split(str(root), "val", "--val") == splits["val"]
    with pytest.raises(InputError, match="name the split as"):
        read_source(str(root), Defects(), ReaderOptions())
    assert snapshot(root) == before


@pytest.mark.parametrize("write", WHOLE_LAYOUTS, ids=lambda write: write.__name__)
def test_data_without_splits(tmp_path, write):
    root = tmp_path / "data"
    write(root)
    add_strays(root)
    before = snapshot(root)
    assert list(splits_of(root)) == ["all"]
    for name in (splits_of(root)["all"], str(root), find_split(str(root), "train", "--train")):
        assert boxes_of(name) == expected(SPLITS)
    assert data_splits(str(root)) == (splits_of(root)["all"], "")
    assert snapshot(root) == before


def test_a_coco_file_without_a_split(tmp_path):
    """Label Studio's result.json, whose images have other paths on the annotator's machine."""
    layouts.coco(tmp_path / "result.json", SAMPLES, prefix="../../label-studio/data/upload/1/")
    for s in SAMPLES:
        layouts.image(tmp_path / "pictures" / "deep" / f"{s.name}.jpg", s)
    assert splits_of(tmp_path) == {"all": str(tmp_path / "result.json")}
    assert boxes_of(str(tmp_path)) == expected(SPLITS)


def test_a_coco_file_without_a_role_beside_one_of_a_split(tmp_path):
    """As found: CVAT's instances_default.json of the training images, and val_instances_default.json."""
    layouts.coco(tmp_path / "annotations" / "instances_default.json", layouts.of("train"), prefix="train/")
    layouts.coco(tmp_path / "annotations" / "val_instances_default.json", layouts.of("val"), prefix="val/")
    for s in SAMPLES:
        layouts.image(tmp_path / "images" / s.split / f"{s.name}.jpg", s)
    train, val = data_splits(str(tmp_path))
    assert (boxes_of(train), boxes_of(val)) == (expected(["train"]), expected(["val"]))
    layouts.coco(tmp_path / "annotations" / "instances_train.json", layouts.of("train"), prefix="train/")
    assert set(splits_of(tmp_path)) == {"train", "val"}


def test_two_readings_are_named_with_the_option_that_chooses(tmp_path):
    layouts.voc_standard(tmp_path)
    layouts.coco_standard(tmp_path)
    with pytest.raises(InputError, match=r"can be read in 2 ways; choose with --format voc .* or --format coco"):
        data_splits(str(tmp_path))
    assert splits_of(tmp_path, "voc")["train"] == f"{tmp_path}:train"
    assert splits_of(tmp_path, "coco")["train"].endswith("instances_train2017.json")
    source = read_source(f"{tmp_path}:train", Defects(), ReaderOptions(format="coco"))
    assert source.layout == "coco" and len(source.records) == 3
    with pytest.raises(InputError, match="--format: 'vok' is none of"):
        splits_of(tmp_path, "vok")


def test_several_files_of_one_split_are_named_with_the_options_that_choose(tmp_path):
    for name in ("first", "second"):
        layouts.coco(tmp_path / f"{name}.json", SAMPLES)
    with pytest.raises(InputError, match=r"2 COCO annotation files that state no split: .*first\.json, .*--train FILE"):
        splits_of(tmp_path)
    layouts.voc_standard(tmp_path / "v" / "VOC2007")
    layouts.voc_standard(tmp_path / "v" / "VOC2012")
    with pytest.raises(InputError, match=r"holds two sets; name one of them, such as .*VOC2007 or .*VOC2012"):
        splits_of(tmp_path / "v")
    layouts.yolo_standard(tmp_path / "y")
    (tmp_path / "y" / "other.yaml").write_text("train: images/val\nval: images/test\nnames: [x, y, z]\n")
    with pytest.raises(InputError, match=r"data\.yaml and .*other\.yaml describe different data .* --train "):
        splits_of(tmp_path / "y")
    (tmp_path / "y" / "other.yaml").write_text((tmp_path / "y" / "data.yaml").read_text())
    assert set(splits_of(tmp_path / "y")) == set(SPLITS)


UNREAD = {
    "a 1.txt": "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12",  # KITTI
    "labels.csv": "image,cat,dog\na 1.jpg,1,0\n",
    "annotations.xml": '<annotations><image name="a 1.jpg"><box xtl="1"/></image></annotations>',  # CVAT
    "balls.json": '{"train": [{"url": "a 1.jpg", "balls": [[0, 0.4, 0.8, 0.1]]}]}',
    "objects.json": '{"a 1.jpg": {"boxes": [[1, 2, 3, 4]]}}',
}


@pytest.mark.parametrize("name", UNREAD)
def test_annotations_that_nobody_reads_are_never_taken_for_no_annotations(tmp_path, name):
    for s in SAMPLES:
        layouts.image(tmp_path / f"{s.name}.jpg", s)
    assert find_split(str(tmp_path), "val", "--val") == str(tmp_path)
    layouts.text(tmp_path / name, UNREAD[name])
    for read in (lambda: find_split(str(tmp_path), "val", "--val"), lambda: splits_of(tmp_path)):
        with pytest.raises(InputError, match=f"{name}: looks like annotations.*coco: .*--format images"):
            read()
    with pytest.raises(InputError, match=f"{name}: looks like annotations"):
        read_source(str(tmp_path), Defects(), ReaderOptions())
    assert len(read_source(str(tmp_path), Defects(), ReaderOptions(format="images")).records) == len(SAMPLES)


@pytest.mark.parametrize("write", [layouts.roboflow_coco, layouts.voc_standard, layouts.xml_by_split, layouts.darknet])
def test_absent_images_are_counted_in_one_message_and_left_out_on_demand(tmp_path, write):
    write(tmp_path)
    path = next(p for p in tmp_path.rglob("b.v2.jpg"))
    path.unlink()
    name = splits_of(tmp_path)["train"]
    with pytest.raises(InputError, match=r"1 of 3 images are absent, first: .*b\.v2.*--skip-missing"):
        read_source(name, Defects(), ReaderOptions())
    defects = Defects()
    source = read_source(name, defects, ReaderOptions(skip_missing=True))
    assert len(source.records) == 2 and defects.counts[ABSENT] == 1
    for path in tmp_path.rglob("*.jpg"):
        if not path.name.startswith("d"):
            path.unlink()
    with pytest.raises(InputError, match=r"images are absent|none of|holds neither|has no"):
        read_source(name, Defects(), ReaderOptions(skip_missing=True))


def test_a_test_split_without_annotations_has_none(tmp_path):
    layouts.yolo_standard(tmp_path)
    for path in (tmp_path / "labels" / "test").iterdir():
        path.unlink()
    assert not read_source(f"{tmp_path}:test", Defects(), ReaderOptions()).annotated
    for path in (tmp_path / "labels" / "val").iterdir():
        path.unlink()
    sought = str(tmp_path / "labels" / "val" / "d.txt")
    with pytest.raises(InputError, match=f"val: none of its 1 images has a label file; .*sought: .*{sought}"):
        read_source(f"{tmp_path}:val", Defects(), ReaderOptions())


def test_a_test_split_that_is_only_named_is_none(tmp_path):
    layouts.yolo_roboflow(tmp_path)
    shutil.rmtree(tmp_path / "test")
    assert set(splits_of(tmp_path)) == {"train", "val"}


def test_label_files_without_names_of_classes(tmp_path):
    layouts.yolo_labels_and_classes(tmp_path)
    (tmp_path / "labels" / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"no file names the classes; write .*classes\.txt"):
        read_source(str(tmp_path), Defects(), ReaderOptions())
    layouts.text(tmp_path / "labels" / "classes.txt", "cat\n")
    with pytest.raises(InputError, match=r"a 1\.txt:2: .*classes 0 to 0 of .*classes\.txt"):
        read_source(str(tmp_path), Defects(), ReaderOptions())
    for folder in ("one", "two"):
        layouts.text(tmp_path / folder / "classes.txt", f"cat\ndog\n{folder}\n")
    (tmp_path / "labels" / "classes.txt").unlink()
    with pytest.raises(
        InputError, match=r"list different classes, so that a class's number in .*labels may mean either"
    ):
        read_source(str(tmp_path), Defects(), ReaderOptions())


def test_the_list_of_another_folder_is_not_taken_against_that_of_obj_data(tmp_path):
    """As found: Roboflow's list in the order of the alphabet beside the training labels, another order in obj.names."""
    layouts.darknet(tmp_path)
    layouts.text(tmp_path / "data" / "coco.names", "person\nbicycle\n")  # of darknet's own data
    assert boxes_of(f"{tmp_path}:val") == expected(["val"])
    layouts.text(tmp_path / "data" / "obj" / "_darknet.labels", "cow\ncat\ndog\n")
    with pytest.raises(InputError, match=r"_darknet\.labels and .*obj\.names list different classes"):
        read_source(f"{tmp_path}:val", Defects(), ReaderOptions())
    layouts.yolo_roboflow_darknet(tmp_path / "r")
    (tmp_path / "r" / "valid" / "_darknet.labels").unlink()
    assert boxes_of(f"{tmp_path / 'r'}:val") == expected(["val"])  # the lists of other folders agree
    layouts.text(tmp_path / "r" / "obj.names", "cow\ncat\ndog\n")
    with pytest.raises(InputError, match="list different classes"):
        read_source(f"{tmp_path / 'r'}:val", Defects(), ReaderOptions())


def test_images_and_xml_files_that_are_left_out_are_counted(tmp_path):
    layouts.xml_by_split_apart(tmp_path)
    layouts.image(tmp_path / "images" / "train" / "unlabelled.jpg", SAMPLES[0])
    layouts.xml(tmp_path / "annotations" / "loose.xml", SAMPLES[0])
    layouts.text(tmp_path / "annotations" / "train" / "z.xml", "<project/>")
    defects = Defects()
    read_source(f"{tmp_path}:train", defects, ReaderOptions())
    assert defects.counts == {NO_XML: 1, NO_ROLE: 1, OTHER_XML: 1}
    read_source(f"{tmp_path}:val", defects := Defects(), ReaderOptions())
    assert defects.counts == {NO_ROLE: 1}


def test_empty_objects_are_dropped_and_masks_are_no_images(tmp_path):
    layouts.voc_standard(tmp_path)
    path = tmp_path / "Annotations" / "d.xml"
    path.write_text(path.read_text().replace("<object>", "<object/><object>", 1))
    read_source(f"{tmp_path}:val", defects := Defects(), ReaderOptions())
    assert defects.counts == {EMPTY_OBJECT: 1}
    (tmp_path / "JPEGImages" / "d.jpg").unlink()
    with pytest.raises(InputError, match="1 of 1 images are absent"):
        read_source(f"{tmp_path}:val", Defects(), ReaderOptions())


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("instances_Train2017", "train"),
        ("valid", "val"),
        ("person-validation", "val"),
        ("testSet", "test"),
        ("test-dev2017", "test"),
        ("train_val", "trainval"),
        ("TRAINVAL", "trainval"),
        ("constraint", ""),
        ("latest", ""),
        ("_annotations.coco", ""),
    ],
)
def test_roles_by_name(name, role):
    assert role_of(name) == role


def test_a_folder_above_the_data_is_no_role(tmp_path):
    """The data lie below a folder "test": the image of the XML file is the one in `all`, not the one in `test`."""
    root = tmp_path / "test" / "data"
    candidates = [root / "all" / "images" / "1.jpg", root / "test" / "images" / "1.jpg"]
    assert nearest(root / "xml" / "1.xml", candidates) == candidates[:1]
    assert nearest(root / "test" / "xml" / "1.xml", candidates) == candidates[1:]
    assert same_role(root / "train" / "labels", root / "train" / "images")
    assert not same_role(root / "labels", root / "test" / "images")
