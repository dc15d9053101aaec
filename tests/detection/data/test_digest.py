"""The digest of data follows the content, not the place. Images of two sets are found however paths are written."""

import copy
import os

from detection.data.catalog import _shared_images
from detection.data.digest import digest_of_data

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog


@pytest.fixture
def register():
    names = []

    def registered(records, classes=("cell", "dust")):
        name = f"digested_{len(names)}"
        names.append(name)
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).thing_classes = list(classes)
        return name

    yield registered
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def records_in(folder, content=b"12345"):
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.jpg").write_bytes(content)
    box = {"bbox": [1.0, 2.0, 30.0, 40.5], "category_id": 1, "iscrowd": 0, "difficult": 0, "area": 1000.0}
    size = {"width": 64, "height": 48}
    return [{"file_name": str(folder / f"{i}.jpg"), **size, "annotations": [dict(box)] * i} for i in range(2)]


def test_the_digest_is_that_of_the_content(register, tmp_path):
    one, other = records_in(tmp_path / "one"), records_in(tmp_path / "other")
    digest = digest_of_data([register(one)])
    assert digest == digest_of_data([register(other)])
    changes = [
        lambda r: r[1]["annotations"][0].update(bbox=[1.0, 2.0, 30.0, 40.25]),
        lambda r: r[1]["annotations"][0].update(category_id=0),
        lambda r: r[1]["annotations"][0].update(iscrowd=1),
        lambda r: r[1]["annotations"][0].update(difficult=1),
        lambda r: r[1]["annotations"][0].update(area=999.0),
        lambda r: r[1]["annotations"][0].pop("area"),
        lambda r: r[0].update(annotations=r[1]["annotations"]),
        lambda r: r[0].update(annotations=r[1]["annotations"]) or r[1].update(annotations=[]),
        lambda r: r[0].update(width=65),
        lambda r: r.reverse(),
    ]
    digests = {digest}
    for change in changes:
        changed = copy.deepcopy(one)
        change(changed)
        digests.add(digest_of_data([register(changed)]))
    digests.add(digest_of_data([register(one, ("dust", "cell"))]))
    digests.add(digest_of_data([register(records_in(tmp_path / "more", b"123456"))]))
    assert len(digests) == 1 + len(changes) + 2


def test_images_of_both_sets_are_found_through_links(register, tmp_path):
    train = records_in(tmp_path / "train")
    os.symlink(tmp_path / "train", tmp_path / "linked_folder")
    (tmp_path / "test").mkdir()
    os.symlink(train[1]["file_name"], tmp_path / "test" / "linked.jpg")
    linked = [tmp_path / "linked_folder" / "0.jpg", tmp_path / "test" / "linked.jpg"]
    test = [{**train[0], "file_name": str(path)} for path in linked]
    names = {"TRAIN": (register(train),), "TEST": (register(test),)}
    (line,) = _shared_images(CfgNode({"DATASETS": CfgNode(names)}))
    assert "2 of 2 images are in the training data too" in line
