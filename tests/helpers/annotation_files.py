"""Small detection data sets, written in the layouts of PASCAL VOC and COCO."""

import json

from detection.config import default_config
from detection.data.catalog import resolve_datasets

from detectron2.data import DatasetCatalog
from PIL import Image

W, H = 60, 40  # size of the images in pixels


def voc(root, objects, *, size=True, image=True):
    """A VOC folder of one image, 1.jpg, with the given <object> bodies."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if image:
        Image.new("RGB", (W, H)).save(root / "JPEGImages" / "1.jpg")
    stated = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>" if size else ""
    body = "".join(f"<object>{o}</object>" for o in objects)
    (root / "Annotations" / "1.xml").write_text(f"<annotation>{stated}{body}</annotation>")
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("1\n")
    return root


def obj(x0, y0, x1, y1, name="cat", difficult="<difficult>0</difficult>"):
    box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    return f"<name>{name}</name>{difficult}<bndbox>{box}</bndbox>"


def coco(root, **changes):
    """A COCO folder of one image; `changes` replace top-level entries."""
    (root / "images" / "train").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    Image.new("RGB", (W, H)).save(root / "images" / "train" / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": W, "height": H}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 20], "area": 150, "iscrowd": 0}],
    }
    path = root / "annotations" / "train.json"
    path.write_text(json.dumps(content | changes))
    return path


def records_of(source):
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), (str(source),)
    lines = resolve_datasets(cfg)
    return DatasetCatalog.get(str(source)), cfg.DATASETS.CLASSES, lines


def ilsvrc_xml(path, image_id, objects):
    """An XML file of ILSVRC; `objects` are (WNID, xmin, ymin, xmax, ymax)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{x0}</xmin><xmax>{x1}</xmax><ymin>{y0}</ymin><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for wnid, x0, y0, x1, y1 in objects
    )
    size = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><folder>x</folder><filename>{image_id}</filename>{size}{body}</annotation>")


def ilsvrc_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (W, H)).save(path, "JPEG")
