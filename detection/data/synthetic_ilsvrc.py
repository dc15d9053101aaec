"""Draws the demo's shapes as ILSVRC's CLS-LOC data: one object in an image, with the name of its class as WNID."""

from __future__ import annotations

from pathlib import Path

from detection.data.synthetic import SIZE, make_shapes

from PIL import Image
from pycocotools.coco import COCO

# Names of the lists of images, which differ by split in ILSVRC's ImageSets/CLS-LOC.
_LISTS = {"train": "train_loc.txt", "val": "val.txt"}
_XML = (
    "<annotation><folder>{folder}</folder><filename>{stem}</filename>"
    "<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
    "<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    "</object></annotation>"
)


def make_cls_loc(root: Path, train: int, val: int, seed: int = 0) -> Path:
    """Writes root/ILSVRC, and root/whole, the same images as a folder of classes that pretraining reads.

    Args:
        root: the folder to write to.
        train: number of images that are drawn for the split `train`.
        val: likewise for `val`.
        seed: the same seed gives the same images.

    Returns:
        root/ILSVRC.
    """
    make_shapes(root / "shapes", train=train, test=val, seed=seed, objects=(1, 1))
    ilsvrc = root / "ILSVRC"
    for split, file in _LISTS.items():
        drawn, ids = COCO(root / "shapes" / "annotations" / f"{split}.json"), []
        for annotation in drawn.anns.values():
            number = annotation["image_id"]
            name = drawn.cats[annotation["category_id"]]["name"]
            ids.append(f"{name}/{name}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08}")
            picture = Image.open(root / "shapes" / "images" / split / Path(drawn.imgs[number]["file_name"]).name)
            _save(picture, ilsvrc / "Data" / "CLS-LOC" / split / f"{ids[-1]}.JPEG")
            _save(picture, root / "whole" / split / name / f"{number}.png")
            _write_xml(ilsvrc / "Annotations" / "CLS-LOC" / split / f"{ids[-1]}.xml", name, annotation["bbox"])
        lists = ilsvrc / "ImageSets" / "CLS-LOC"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / file).write_text("".join(f"{image_id} {number}\n" for number, image_id in enumerate(ids, 1)))
    return ilsvrc


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)


def _write_xml(path: Path, name: str, bbox: list[float]) -> None:
    """Writes the annotation of an image. ILSVRC's corners are the first and last pixel of the box, counted from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y, w, h = map(round, bbox)
    corners = {"x0": x, "y0": y, "x1": x + w - 1, "y1": y + h - 1}
    path.write_text(_XML.format(folder=path.parent.name, stem=path.stem, size=SIZE, name=name, **corners))
