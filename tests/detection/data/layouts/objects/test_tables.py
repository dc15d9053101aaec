"""Tables with a box in each row: every order of columns gives the same boxes, and broken tables name the line."""

import time

from backbones.errors import InputError
from detection.data.layouts.defects import ABSENT, NOT_UTF8, OTHER_ENDING, Defects
from detection.data.layouts.objects.table import TableReader
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import read_source, splits_of

import pytest
from object_files import BOXES, CORNERS, H, W, boxes_of, write_images, write_table
from PIL import Image

READER = TableReader()
XXYY = ("xmin", "xmax", "ymin", "ymax")
NO_EMPTY = {name: objects for name, objects in BOXES.items() if objects}


def read(path, defects=None, options=None):
    return read_source(str(path), defects or Defects(), options or ReaderOptions())


def same(source, expected=BOXES):
    found = boxes_of(source)
    assert list(found) == list(expected)
    for name, objects in expected.items():
        assert [c for _, c in found[name]] == [c for _, c in objects]
        for (box, _), (expected_box, _) in zip(found[name], objects, strict=True):
            assert box == pytest.approx(expected_box, abs=1e-5)
    return source


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (("path", *CORNERS, "class"), None),
        (("path", "width", "height", "class", *CORNERS), ("filename", "width", "height", "class", *CORNERS)),
        (("path", *CORNERS, "class"), ("image_path", "x1", "y1", "x2", "y2", "class_name")),
        (("path", *CORNERS, "class"), ("image", "x0", "y0", "x1", "y1", "label")),
        (
            ("path", "class", "fxmin", "fxmax", "fymin", "fymax"),
            ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"),
        ),
        (
            ("path", "x", "y", "w", "h", "class"),
            ("image_name", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "class"),
        ),
        (("path", "width", "height", "bbox", "class"), ("image_id", "width", "height", "bbox", "label")),
        (("class", "path", "x", "y", "w", "h"), ("name", "file", "left", "top", "width", "height")),
    ],
)
def test_columns_by_their_names(tmp_path, columns, names):
    write_images(tmp_path)
    source = same(read(write_table(tmp_path / "labels.csv", columns, names=names)))
    assert source.classes == ["cat", "dog"] and not source.declared


@pytest.mark.parametrize(
    "columns",
    [
        ("path", *CORNERS, "class"),
        ("path", "width", "height", "class", *CORNERS),
        ("class", *XXYY, "path"),
        ("path", "class", "x", "y", "w", "h"),
        ("path", "fxmin", "fymin", "fxmax", "fymax", "class"),
        (*CORNERS, "class", "path"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
def test_columns_by_their_content(tmp_path, columns, delimiter):
    write_images(tmp_path)
    empty = delimiter != " "  # a row of spaces has no empty cells
    table = write_table(tmp_path / "labels.csv", columns, header=False, delimiter=delimiter, empty=empty)
    same(read(table), BOXES if empty else NO_EMPTY)


def test_a_header_of_unknown_names_leaves_the_columns_to_the_content(tmp_path):
    write_images(tmp_path)
    names = ("bild", "a", "b", "c", "d", "klasse")
    same(read(write_table(tmp_path / "labels.csv", ("path", *CORNERS, "class"), names=names)))


def test_boxes_that_can_be_read_in_two_ways_are_refused(tmp_path):
    write_images(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("a.jpg,5,10,20,30,cat\n")
    with pytest.raises(InputError, match=r"labels\.csv: .*2, 3, 4, 5 as x1, y1, x2, y2, and columns 2, 4, 3, 5 as x1"):
        read(table)
    (tmp_path / "classes.csv").write_text("dog,1\ncat,0\n")  # keras-retinanet's pair of files
    source = read(table)
    assert source.records[0]["annotations"][0]["bbox"] == [5, 10, 20, 30]
    assert source.classes == ["cat", "dog"] and source.declared


def test_splits_by_folder_and_by_name(tmp_path):
    for split in ("train", "valid", "test"):
        write_images(tmp_path / "r" / split)
        write_table(tmp_path / "r" / split / "_annotations.csv", ("path", *CORNERS, "class"))
    write_images(tmp_path / "t" / "images")
    for name in ("train_labels.csv", "Test_Labels.CSV", "labels.csv"):
        write_table(tmp_path / "t" / "data" / name, ("path", *CORNERS, "class"))
    for root, splits in (("r", {"train", "val", "test"}), ("t", {"train", "test"})):
        found = splits_of(tmp_path / root)
        assert set(found) == splits
        for split, name in found.items():
            source = same(read(name))
            folder = "images" if root == "t" else {"val": "valid"}.get(split, split)
            assert all(f"/{folder}/" in record["file_name"] for record in source.records)
    assert splits_of(tmp_path / "t" / "data") and not splits_of(tmp_path / "t" / "images")


def test_lines_of_keras_yolo3(tmp_path):
    write_images(tmp_path)
    lines = [
        " ".join([name, *(",".join(map(str, (*box, ("dog", "cat").index(c)))) for box, c in objects)])
        for name, objects in BOXES.items()
    ]
    (tmp_path / "_annotations.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "_classes.txt").write_text("dog\ncat\n")
    source = same(read(f"{tmp_path}:all"))
    assert source.classes == ["dog", "cat"] and source.declared
    (tmp_path / "_annotations.txt").write_text("\n".join([*lines, "a.jpg 1,2,x,4,0"]) + "\n")
    with pytest.raises(InputError, match=r"_annotations\.txt:5: .* is not `image x1,y1,x2,y2,class"):
        read(tmp_path / "_annotations.txt")


def test_lists_of_classes(tmp_path):
    write_images(tmp_path)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01,cat\n/m/02,dog\n/m/03,cow\n")
    (tmp_path / "labels.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/02,0.1,0.5,0.25,0.75\n")
    source = read(tmp_path / "labels.csv")
    assert source.classes == ["dog"] and source.records[0]["annotations"][0]["bbox"] == [6, 10, 30, 30]
    (tmp_path / "labels.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/09,0.1,0.5,0.25,0.75\n")
    with pytest.raises(InputError, match=r"its class '/m/09' is not in .*class-descriptions-boxable"):
        read(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,xmin,ymin,xmax,class\na.jpg,1,2,3,cat\n", r"has no column ymax"),
        ("image,xmin,ymin,xmax,ymax,class\n", "has a header and no rows"),
        (
            "image,xmin,ymin,xmax,ymax,class\na.jpg,1,2,9,9,cat\na.jpg,1,2,9,nine,cat\n",
            r"labels\.csv:3: .*correct the row",
        ),
        ("image,xmin,ymin,xmax,ymax,class\na.jpg,1,2,9\n", r"labels\.csv:2: "),
        ("image,xmin,ymin,xmax,ymax,class\n,1,2,9,9,cat\n", r"labels\.csv:2: names no image"),
        ("image,xmin,ymin,xmax,ymax,class\na.jpg,1,2,9,9,\n", r"labels\.csv:2: has a box without a class"),
        (
            "image,xmin,ymin,xmax,ymax,class\nz.jpg,1,2,9,9,cat\n",
            r"1 of 1 images are absent, first: z\.jpg of .*labels\.csv:2",
        ),
        ("image,xmin,ymin,xmax,ymax,class\nz.jpg,1,2,9,9,cat\na.jpg,1,2,9,9,cat\n", r"1 of 2 images are absent"),
    ],
)
def test_broken_tables_name_the_line(tmp_path, rows, message):
    write_images(tmp_path)
    (tmp_path / "labels.csv").write_text(rows)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "labels.csv")


def test_what_is_mended_is_counted(tmp_path):
    write_images(tmp_path)
    rows = "image,xmin,ymin,xmax,ymax,class\nz.jpg,1,2,9,9,cat\na.png,1,2,1e400,9,K\xe4fer\na.png,nan,2,9,9,cat\n"
    (tmp_path / "labels.csv").write_bytes(rows.encode("latin-1"))
    defects = Defects()
    source = read(tmp_path / "labels.csv", defects, ReaderOptions(skip_missing=True))
    assert [a["category"] for r in source.records for a in r["annotations"]] == []
    assert defects.counts[ABSENT] == 1 and defects.counts[OTHER_ENDING] == 1 and defects.counts[NOT_UTF8] == 1


def test_images_named_by_a_path_of_another_machine(tmp_path):
    for split in ("train", "test"):
        write_images(tmp_path / "images" / split)
    (tmp_path / "labels.csv").write_text(
        "filename,xmin,ymin,xmax,ymax,class\nC:\\data\\images\\test\\a.jpg,1,2,9,9,cat\nA.JPG,1,2,9,9,cat\n"
    )
    with pytest.raises(InputError, match=r"A\.JPG may be .*/a\.jpg or .*/a\.jpg"):
        read(f"{tmp_path}:all")
    (tmp_path / "labels.csv").write_text(
        "filename,xmin,ymin,xmax,ymax,class\nC:\\data\\images\\test\\a.jpg,1,2,9,9,cat\n/x/images/train/a.jpg,1,2,9,9,cat\n"
    )
    found = [record["file_name"] for record in read(f"{tmp_path}:all").records]
    assert found == [str(tmp_path / "images" / split / "a.jpg") for split in ("test", "train")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bumps.csv", "filename , BumpPresent\na.jpg , 1\n"),
        ("kinds.csv", "image,cat,dog,cow,pig,hen\na.jpg,0,0,0,1,0\nb.jpg,1,0,0,0,0\n"),
        ("features.csv", "filename,image,x1,x2,x3,x4\na.jpg,3,0.2,0.4,0.6,0.2\na.jpg,4,0.9,0.4,0.1,0.2\n"),
        ("numbers.csv", "a,b,c,d,e\n1,2,3,4,5\n"),
        ("train.txt", "images/a.jpg\nimages/b.jpg\n"),
        ("label.txt", "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n"),
        ("notes.txt", "Exported from a tool, in 2024, as a.jpg, with boxes, and so on\n\n* 364 images\n"),
        ("empty.csv", ""),
        ("binary.csv", b"\x00\xff\xfe\x00" * 999),
        ("quote.csv", '"' + "x," * 9999),
    ],
)
def test_other_tables_and_texts_are_passed_over(tmp_path, name, content):
    write_images(tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert READER.splits(tmp_path) == {} and not READER.recognises(tmp_path / name, "")


def test_a_long_table_is_read_in_seconds(tmp_path):
    Image.new("RGB", (W, H)).save(tmp_path / "a.jpg")
    rows = "".join(f"a.jpg,{i % 30},{i % 20},{i % 30 + 9},{i % 20 + 5},c{i % 7}\n" for i in range(200_000))
    (tmp_path / "labels.csv").write_text("image,xmin,ymin,xmax,ymax,class\n" + rows)
    start = time.process_time()
    source = read(tmp_path / "labels.csv")
    assert len(source.records[0]["annotations"]) == 200_000 and time.process_time() - start < 20
    assert H > 29
