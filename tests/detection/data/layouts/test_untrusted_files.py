"""Files that are broken on purpose end in one clear error, and never in a crash, a hang or a full memory."""

import os

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import data_splits, read_source, splits_of

import layouts
import pytest
from annotation_files import coco, obj, voc

DIGITS = "9" * 6000
BOMB = '<!DOCTYPE a [<!ENTITY b "{}">{}]><annotation>&k;</annotation>'


def read(name):
    return read_source(str(name), Defects(), ReaderOptions())


def bomb():
    entities = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 100}">' for i in range(1, 10))
    return BOMB.format("x" * 1000, entities)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"images": ' + "[" * 100_000,
        '{"images": [], "categories": [], "annotations": [' + DIGITS,
        f'{{"images": [{{"id": 1, "file_name": "a.png", "width": {DIGITS}, "height": 2}}], "categories": []}}',
        '{"images": 1, "categories": "x", "annotations": {}}',
        "\0\0\0",
        "",
    ],
    ids=["deep list", "deep", "digits", "digits in an image", "types", "zeros", "empty"],
)
def test_json(tmp_path, content):
    path = coco(tmp_path)
    path.write_text(content)
    with pytest.raises(InputError, match=r"train\.json"):
        read(path)


def test_numbers_that_are_too_large_for_a_float(tmp_path):
    huge = 10**400
    annotation = {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 20]}
    records = read(coco(tmp_path, annotations=[annotation | {"area": huge}])).records
    assert records[0]["annotations"][0]["area"] == 200
    with pytest.raises(InputError, match="bbox"):
        read(coco(tmp_path, annotations=[annotation | {"bbox": [1, 2, huge, 4]}]))
    with pytest.raises(InputError, match="pixels"):
        read(coco(tmp_path, images=[{"id": 7, "file_name": "a.png", "width": huge, "height": 40}]))


@pytest.mark.parametrize(
    "content",
    [
        bomb(),
        "<annotation>" * 100_000,
        "<annotation><object><name>cat</name><bndbox/></object></annotation>",
        "\xff\xfe<",
    ],
    ids=["entities", "deep", "no corners", "encoding"],
)
def test_xml(tmp_path, content):
    root = voc(tmp_path, [obj(1, 1, 9, 9)])
    (root / "Annotations" / "1.xml").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"1\.xml|has no images of a split"):
        read(f"{root}:train")


def test_xml_with_numbers_of_many_digits(tmp_path):
    root = voc(tmp_path, [obj(1, 1, DIGITS, 9)])
    assert read(f"{root}:train").records[0]["annotations"] == []  # a corner that is infinite as a float
    path = root / "Annotations" / "1.xml"
    path.write_text(path.read_text().replace("<width>60", f"<width>{DIGITS}"))
    assert read(f"{root}:train").records[0]["width"] == 60


@pytest.mark.parametrize(
    "content", ["names: " + "[" * 100_000, f"names: [a]\ntrain: images\nnc: {DIGITS}", "names: &a [*a]\ntrain: images"]
)
def test_yaml(tmp_path, content):
    layouts.yolo_standard(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(InputError, match=r"data\.yaml"):
        read(f"{tmp_path / 'data.yaml'}:train")


def test_a_line_of_many_digits_is_shown_in_short(tmp_path):
    layouts.yolo_standard(tmp_path)
    (tmp_path / "labels" / "val" / "d.txt").write_text(f"{DIGITS} 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"d\.txt:1") as caught:
        read(f"{tmp_path}:val")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("write", [layouts.roboflow_coco, layouts.voc_standard, layouts.darknet])
def test_a_pipe_in_the_place_of_a_file_is_absent(tmp_path, write):
    write(tmp_path)
    path = next(p for p in tmp_path.rglob("b.v2.jpg"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="1 of 3 images are absent"):
        read(splits_of(tmp_path)["train"])
    for annotations in (*tmp_path.rglob("*.json"), *tmp_path.rglob("*.xml"), *tmp_path.rglob("*.txt")):
        annotations.unlink()
        os.mkfifo(annotations)
    with pytest.raises(InputError):
        data_splits(str(tmp_path))
    with pytest.raises(InputError, match=r"no regular file|no such"):
        read(next(iter(tmp_path.rglob("*.json")), tmp_path / "none.json"))


def test_an_image_that_is_none_is_named(tmp_path):
    layouts.yolo_standard(tmp_path)
    (tmp_path / "images" / "val" / "d.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"d\.jpg: cannot be decoded"):
        read(f"{tmp_path}:val")


def test_links_in_a_circle_end(tmp_path):
    layouts.xml_and_images(tmp_path)
    (tmp_path / "images" / "again").symlink_to(tmp_path)
    assert len(read(tmp_path).records) == len(layouts.SAMPLES)
