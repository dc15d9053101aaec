"""One small data set, written in every layout in which public data sets are found."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

CLASSES = ["cat", "dog", "cow"]


@dataclass(frozen=True)
class Sample:
    """An image and its boxes.

    Attributes:
        name: name of the image without its ending.
        split: "train", "val" or "test".
        boxes: class, and x0, y0, x1, y1 in pixels.
        size: width and height in pixels.
    """

    name: str
    split: str
    boxes: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    size: tuple[int, int] = (64, 40)


SAMPLES = [
    Sample("a 1", "train", [("cat", 4, 5, 20, 30), ("dog", 30, 2, 64, 40)]),
    Sample("b.v2", "train", [("cow", 0, 0, 64, 40)]),
    Sample("c_jpg.rf.01", "train", [("dog", 10, 10, 30, 20), ("cat", 1, 1, 9, 9)], (40, 64)),
    Sample("d", "val", [("cat", 8, 6, 24, 20), ("dog", 2, 2, 12, 14), ("cow", 3, 4, 40, 28)]),
    Sample("é", "test", [("dog", 5, 5, 25, 25), ("cat", 6, 8, 16, 18), ("cow", 1, 2, 3, 4)]),
]


def image(path, sample):
    """Writes a sample's image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(hash_of(sample.name) >> shift & 255 for shift in (0, 8, 16))
    Image.new("RGB", sample.size, colour).save(path)


def hash_of(text):
    return sum(ord(c) * 31**i for i, c in enumerate(text))


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def xml(path, sample, filename=None):
    """Writes VOC's XML file of a sample, whose corners count from 1."""
    objects = "".join(
        f"<object><name>{c}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for c, x0, y0, x1, y1 in sample.boxes
    )
    width, height = sample.size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    name = f"<filename>{filename or f'{sample.name}.jpg'}</filename>"
    text(path, f"<annotation><folder>images</folder>{name}{size}{objects}</annotation>")


def coco(path, samples, prefix="", parent=False):
    """Writes a COCO file. `prefix` comes before the images' names; `parent` adds Roboflow's category 0."""
    start = 1 if parent else 0
    above = {"supercategory": "animals"} if parent else {}
    categories = [{"id": 0, "name": "animals", "supercategory": "none"}] if parent else []
    categories += [{"id": i, "name": c} | above for i, c in enumerate(CLASSES, start)]
    images = [
        {"id": i, "file_name": f"{prefix}{s.name}.jpg", "width": s.size[0], "height": s.size[1]}
        for i, s in enumerate(samples)
    ]
    boxes = [(i, *box) for i, s in enumerate(samples) for box in s.boxes]
    annotations = [
        {"id": j, "image_id": i, "category_id": CLASSES.index(c) + start, "bbox": [x, y, u - x, v - y], "iscrowd": 0}
        for j, (i, c, x, y, u, v) in enumerate(boxes)
    ]
    text(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def yolo(path, sample, classes=CLASSES, polygon=False):
    """Writes the label file of a sample, with boxes or with polygons of the same extent."""
    lines, (w, h) = [], sample.size
    for c, x0, y0, x1, y1 in sample.boxes:
        numbers = [(x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h]
        if polygon:
            numbers = [x0 / w, y0 / h, x1 / w, y0 / h, x1 / w, y1 / h, x0 / w, y1 / h]
        lines.append(f"{classes.index(c)} {' '.join(f'{number:.8f}' for number in numbers)}\n")
    text(path, "".join(lines))


def of(split):
    return [sample for sample in SAMPLES if sample.split == split]


SPLITS = ("train", "val", "test")
ROBOFLOW = {"train": "train", "val": "valid", "test": "test"}


def roboflow_coco(root):
    for split, folder in ROBOFLOW.items():
        coco(root / folder / "_annotations.coco.json", of(split), parent=True)
        for s in of(split):
            image(root / folder / f"{s.name}.jpg", s)


def coco_standard(root):
    for split in SPLITS:
        coco(root / "annotations" / f"instances_{split}2017.json", of(split))
        text(
            root / "annotations" / f"person_keypoints_{split}2017.json",
            '{"images": [], "annotations": [], "categories": []}',
        )
        for s in of(split):
            image(root / f"{split}2017" / f"{s.name}.jpg", s)


def coco_cvat(root):
    """CVAT's names, in upper case; the images in images/SPLIT, named with a path of the annotator's machine."""
    for split, name in zip(SPLITS, ("Train", "Validation", "TEST"), strict=True):
        coco(root / "Annotations" / f"instances_{name}.json", of(split), prefix="C:\\data\\")
        for s in of(split):
            image(root / "images" / name / f"{s.name}.jpg", s)


def coco_at_the_root(root):
    for split in SPLITS:
        coco(root / f"custom_{split}.json", of(split), prefix=f"{split}/")
        for s in of(split):
            image(root / "photos" / split / f"{s.name}.jpg", s)
    text(root / "package.json", '{"name": "labels", "annotations": {}}')


def coco_one_level_down(root):
    coco_standard(root / "dataset")


def voc_standard(root, annotations="Annotations", images="JPEGImages", lists="ImageSets/Main"):
    for s in SAMPLES:
        xml(root / annotations / f"{s.name}.xml", s)
        image(root / images / f"{s.name}.jpg", s)
        image(root / "SegmentationClass" / f"{s.name}.png", s)
    for split in SPLITS:
        text(root / lists / f"{split}.txt", "".join(f"{s.name}\n" for s in of(split)))
    text(root / lists / "cat_train.txt", "b.v2 -1\nd  1\n")
    text(root / lists / "empty.txt", "")


def voc_other_names(root):
    voc_standard(root, "annotations-v2", "JPEGImages-trainval", "imagesets/main")


def voc_nested(root):
    voc_standard(root / "VOCdevkit" / "VOC2007")


def voc_lists_at_the_root(root):
    """Lists as PaddleDetection has them: the paths of an image and of its XML file."""
    for s in SAMPLES:
        xml(root / "annotations" / "xmls" / f"{s.name.replace(' ', '_')}.xml", s)
        image(root / "images" / f"{s.name.replace(' ', '_')}.jpg", s)
    for split in SPLITS:
        names = [s.name.replace(" ", "_") for s in of(split)]
        lines = "".join(f"./images/{name}.jpg ./annotations/xmls/{name}.xml\n" for name in names)
        text(root / f"{split}.txt", lines)


def xml_by_split(root):
    for split, folder in ROBOFLOW.items():
        for s in of(split):
            xml(root / folder / f"{s.name}.xml", s)
            image(root / folder / f"{s.name}.jpg", s)


def xml_by_split_apart(root):
    for split in SPLITS:
        for s in of(split):
            xml(root / "annotations" / split / f"{s.name}.xml", s)
            image(root / "images" / split / f"{s.name}.JPG", s)


def xml_beside(root):
    for s in SAMPLES:
        xml(root / f"{s.name}.xml", s)
        image(root / f"{s.name}.jpg", s)
    text(root / "environment.yml", "name: cv\ndependencies: [python]\n")


def xml_and_images(root):
    for s in SAMPLES:
        xml(root / "annotations" / f"{s.name}.xml", s)
        image(root / "images" / f"{s.name}.jpg", s)


def xml_by_filename(root):
    """XML files whose own names say nothing."""
    for i, s in enumerate(SAMPLES):
        xml(root / "labels" / f"{i:05}.xml", s, filename=f"C:\\photos\\{s.name}.jpg")
        image(root / "photos" / f"{s.name}.jpg", s)


def yolo_files(root, split, images, labels, polygon=False):
    for s in of(split):
        image(root / images / f"{s.name}.jpg", s)
        yolo(root / labels / f"{s.name}.txt", s, polygon=polygon)


def yolo_standard(root):
    for split in SPLITS:
        yolo_files(root, split, f"images/{split}", f"labels/{split}")
    text(root / "data.yaml", f"path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {CLASSES}\n")


def yolo_roboflow(root):
    for split, folder in ROBOFLOW.items():
        yolo_files(root, split, f"{folder}/images", f"{folder}/labels", polygon=True)
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    text(root / "data.yaml", f"{paths}nc: 3\nnames: {CLASSES}\nroboflow:\n  version: 1\n")
    text(root / "environment.yml", "name: cv\nchannels: [defaults]\n")
    text(root / "model.yaml", "names: [\n")


def yolo_of_another_machine(root):
    for split in SPLITS:
        yolo_files(root, split, f"{split}/photos", f"{split}/photos")
    base = "/content/drive/My Drive/set"
    paths = "".join(
        f"{key}: {base}/{split}/photos\n" for key, split in zip(("train", "validate", "test"), SPLITS, strict=True)
    )
    text(root / "set.yml", f"path: /content/drive\n{paths}names:\n  0: cat\n  1: dog\n  2: cow\n")


def darknet(root):
    for split in SPLITS:
        yolo_files(root, split, "data/obj", "data/obj")
        names = "".join(f"build/darknet/x64/data/obj/{s.name}.jpg\n" for s in of(split))
        text(root / "data" / f"{split}.txt", names)
    text(root / "data" / "obj.names", "\n".join(CLASSES))
    text(
        root / "data" / "obj.data",
        "classes = 3\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\n",
    )
    text(root / "data" / "obj.data", (root / "data" / "obj.data").read_text() + "test = data/test.txt\n")


def yolo_roboflow_darknet(root):
    for split, folder in ROBOFLOW.items():
        yolo_files(root, split, folder, folder)
        text(root / folder / "_darknet.labels", "\n".join(CLASSES) + "\n")


def yolo_labelimg(root):
    """LabelImg's classes.txt in each folder, of another order in each."""
    for split, order in zip(SPLITS, ([0, 1, 2], [2, 0, 1], [1, 2, 0]), strict=True):
        classes = [CLASSES[i] for i in order]
        for s in of(split):
            image(root / "images" / split / f"{s.name}.jpg", s)
            yolo(root / "labels" / split / f"{s.name}.txt", s, classes)
        text(root / "labels" / split / "classes.txt", "\n".join(classes) + "\n")
    text(root / "predefined_classes.txt", "person\n")


def yolo_labels_and_classes(root):
    for split in SPLITS:
        yolo_files(root, split, "images", "labels")
    text(root / "labels" / "classes.txt", "\n".join(CLASSES) + "\n")


def xml_and_tables(root):
    """XML files, and a table for each split of the same boxes, whose corners count from 0."""
    xml_and_images(root)
    for split in SPLITS:
        table(root / "data" / f"{split}_labels.csv", of(split), first=0)


def table(path, samples, first=1):
    """Writes the table that TensorFlow's tutorials make of XML files. `first` is the number of the first pixel."""
    rows = [
        f"{s.name}.jpg,{s.size[0]},{s.size[1]},{c},{x0 + first},{y0 + first},{x1},{y1}\n"
        for s in samples
        for c, x0, y0, x1, y1 in s.boxes
    ]
    text(path, "".join(["filename,width,height,class,xmin,ymin,xmax,ymax\n", *rows]))


def label_studio(root):
    """Label Studio's export, whose boxes are in percent and whose images were uploaded under longer names."""
    tasks = []
    for s in SAMPLES:
        w, h = s.size
        regions = [
            {
                "type": "rectanglelabels",
                "value": {
                    "x": 100 * x0 / w,
                    "y": 100 * y0 / h,
                    "width": 100 * (x1 - x0) / w,
                    "height": 100 * (y1 - y0) / h,
                    "rotation": 0,
                    "rectanglelabels": [c],
                },
            }
            for c, x0, y0, x1, y1 in s.boxes
        ]
        name = f"/data/upload/1/{hash_of(s.name) % 16**8:08x}-{s.name}.jpg"
        tasks.append({"id": len(tasks), "annotations": [{"result": regions}], "data": {"image": name}})
        image(root / "images" / f"{s.name}.jpg", s)
    text(root / "project-1-at-2024-01-01.json", json.dumps(tasks))


# With splits, and without.
SPLIT_LAYOUTS = [roboflow_coco, coco_standard, coco_cvat, coco_at_the_root, coco_one_level_down]
SPLIT_LAYOUTS += [voc_standard, voc_other_names, voc_nested, voc_lists_at_the_root, xml_by_split, xml_by_split_apart]
SPLIT_LAYOUTS += [yolo_standard, yolo_roboflow, yolo_of_another_machine, darknet, yolo_roboflow_darknet, yolo_labelimg]
SPLIT_LAYOUTS += [xml_and_tables]
WHOLE_LAYOUTS = [xml_beside, xml_and_images, xml_by_filename, yolo_labels_and_classes, label_studio]


def add_strays(root):
    """Files that do not belong to the data, as archives and editors leave them."""
    for name, content in (
        ("README.md", "# Data"),
        (".DS_Store", "\0"),
        ("__MACOSX/train/._d.xml", "<annotation>"),
        ("notes.txt", "four pictures of 3 cows"),
        ("settings.json", '{"lines": 3}'),
        ("docker-compose.yml", "services: {}\n"),
        ("Untitled.ipynb", '{"cells": []}'),
        (".ipynb_checkpoints/train.json", '{"images": 1, "annotations": 2, "categories": 3}'),
        (".idea/modules.xml", "<project/>"),
        ("pom.xml", "<project/>"),
    ):
        text(root / name, content)


def snapshot(root: Path):
    """Path of each file below a folder -> its content."""
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
