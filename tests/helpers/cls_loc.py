"""The demo's shapes as ILSVRC's CLS-LOC data: one object in an image, its class's name as WNID."""

import json

from detection.data.synthetic import make_shapes

from annotation_files import ilsvrc_xml
from PIL import Image


def make_cls_loc(root, train, val, seed=0):
    """Writes root/ILSVRC, and root/whole, the same images as a folder that pretraining reads."""
    make_shapes(root / "shapes", train=train, test=val, seed=seed, objects=(1, 1))
    ilsvrc = root / "ILSVRC"
    for split in ("train", "val"):
        content = json.loads((root / "shapes" / "annotations" / f"{split}.json").read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        objects = {a["image_id"]: a for a in content["annotations"]}
        lines = []
        for number, image in enumerate(content["images"], 1):
            if image["id"] not in objects:
                continue
            x, y, w, h = (round(v) for v in objects[image["id"]]["bbox"])
            wnid = names[objects[image["id"]]["category_id"]]
            image_id = f"{wnid}/{wnid}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08}"
            data = ilsvrc / "Data" / "CLS-LOC" / split / f"{image_id}.JPEG"
            data.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.open(root / "shapes" / "images" / split / image["file_name"].rsplit("/", 1)[-1])
            picture.save(data, quality=95)
            whole = root / "whole" / split / wnid / f"{number}.png"
            whole.parent.mkdir(parents=True, exist_ok=True)
            picture.save(whole)
            xml = ilsvrc / "Annotations" / "CLS-LOC" / split / f"{image_id}.xml"
            ilsvrc_xml(xml, image_id, [(wnid, x, y, x + w - 1, y + h - 1)])
            lines.append(f"{image_id} {number}\n")
        (ilsvrc / "ImageSets" / "CLS-LOC").mkdir(parents=True, exist_ok=True)
        (ilsvrc / "ImageSets" / "CLS-LOC" / {"train": "train_loc.txt", "val": "val.txt"}[split]).write_text(
            "".join(lines)
        )
    return ilsvrc
