"""One small detection data set as tables, and as JSON of VIA, LabelMe, Create ML and Label Studio."""

import csv
import json

from PIL import Image

W, H = 60, 40  # size of the images in pixels
# Name of an image -> corners and class of its objects. The sizes of the boxes leave one way to read them.
BOXES = {
    "a.jpg": [((2, 3, 12, 20), "cat"), ((30.5, 5, 58, 39), "dog")],
    "b c.JPG": [((10, 1, 50, 11), "dog")],
    "ü.png": [((41, 22, 59, 38), "cat"), ((5, 30, 25, 36), "cat")],
    "empty.png": [],
}
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(BOXES):
        Image.new("RGB", (W, H), (40 * i, 90, 200)).save(folder / name)
    return folder


def boxes_of(source):
    """The boxes of a Source in the form of BOXES."""
    found = {}
    for record in source.records:
        assert (record["width"], record["height"]) == (W, H)
        objects = [(tuple(a["bbox"]), a["category"]) for a in record["annotations"]]
        found[record["file_name"].rsplit("/", 1)[-1]] = objects
    return found


def write_table(path, columns, *, header=True, delimiter=",", names=None, empty=True):
    """A table with a row for each box.

    Args:
        columns: of path, class, width, height, xmin, ymin, xmax, ymax, x, y, w, h, bbox; and those of fractions:
            fxmin, …
        names: what the header calls the columns; None for `columns`.
        empty: whether images without objects have a row with empty cells.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        if header:
            writer.writerow(names or columns)
        for name, objects in BOXES.items():
            for box, category in objects or ([(None, "")] if empty else []):
                cells = dict.fromkeys(columns, "") | {"path": name, "class": category, "width": W, "height": H}
                if box:
                    x0, y0, x1, y1 = box
                    cells |= dict(zip(CORNERS, box, strict=True)) | {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}
                    fractions = (x0 / W, y0 / H, x1 / W, y1 / H)
                    cells |= {f"f{k}": f"{v:.9f}" for k, v in zip(CORNERS, fractions, strict=True)}
                    cells["bbox"] = str([x0, y0, x1 - x0, y1 - y0])
                writer.writerow([cells[column] for column in columns])
    return path


def write_via(path, *, regions=list, project=False, attributes=None):
    """VIA's JSON. `regions` is list or dict; `attributes` makes a region's attributes of the class."""
    entries = {}
    for name, objects in BOXES.items():
        found = []
        for i, ((x0, y0, x1, y1), category) in enumerate(objects):
            shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
            if i:
                shape = {"name": "polygon", "all_points_x": [x0, x1, x0], "all_points_y": [y0, y1, y1]}
            found.append({"shape_attributes": shape, "region_attributes": (attributes or _class)(category)})
        if regions is dict:
            found = {str(i): region for i, region in enumerate(found)}
        entries[f"{name}123"] = {"filename": name, "size": 123, "regions": found, "file_attributes": {}}
    content = {"_via_settings": {}, "_via_img_metadata": entries} if project else entries
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _class(category):
    return {"class": category}


def write_labelme(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, objects in BOXES.items():
        shapes = [
            {"label": category, "points": [[x1, y0], [x0, y1]], "shape_type": "rectangle"}
            for (x0, y0, x1, y1), category in objects
        ]
        content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
        path = folder / f"{name.rpartition('.')[0]}.json"
        path.write_text(json.dumps(content | {"imageHeight": H, "imageWidth": W}))
    return folder


def write_createml(path):
    def annotation(box, category):
        x0, y0, x1, y1 = box
        centre = {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "width": x1 - x0, "height": y1 - y0}
        return {"label": category, "coordinates": centre}

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"image": n, "annotations": [annotation(*o) for o in os]} for n, os in BOXES.items()]))
    return path


def write_label_studio(path, *, minimal=False, prefix="/data/upload/1/0a1b2c3d-"):
    """Label Studio's export of tasks, or JSON-MIN. `prefix` comes before the names of the images."""

    def region(i, box, category):
        x0, y0, x1, y1 = box
        numbers = {"x": x0 / W, "y": y0 / H, "width": (x1 - x0) / W, "height": (y1 - y0) / H}
        value = {k: 100 * v for k, v in numbers.items()} | {"rotation": 0, "rectanglelabels": [category]}
        if i:
            corners = [(x0, y0), (x1, y0), (x1, y1)]
            value = {"points": [[100 * x / W, 100 * y / H] for x, y in corners], "polygonlabels": [category]}
        size = {"original_width": W, "original_height": H}
        return value | size if minimal else size | {"id": f"r{i}", "type": "rectanglelabels", "value": value}

    tasks = []
    for name, objects in BOXES.items():
        regions = [region(i, *o) for i, o in enumerate(objects)]
        labelled = {"label": regions, "annotator": 1} if minimal else {"annotations": [{"result": regions}]}
        data = {"image": f"{prefix}{name}"}
        tasks.append(labelled | data if minimal else labelled | {"data": data, "total_annotations": 1})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tasks))
    return path
