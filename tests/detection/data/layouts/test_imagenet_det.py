"""ImageNet DET in the layout of ILSVRC's download."""

import json

from backbones.errors import InputError
from detection.data.layouts.ilsvrc.det import halves
from detection.data.layouts.sources import find_split

import numpy as np
import pytest
from annotation_files import H, W, ilsvrc_image, ilsvrc_xml, records_of
from run_tools import train_net

DOG, CAT = "n02084071", "n02121808"


@pytest.fixture
def det(tmp_path):
    """A folder ILSVRC: two classes, three training images in two folders, eight of val, one of test."""
    root = tmp_path / "ILSVRC"
    train = {
        f"ILSVRC2013_train/{DOG}/{DOG}_1": [(DOG, 0, 0, W - 1, H - 1), (CAT, 5, 6, 24, 35)],
        "ILSVRC2014_train_0000/ILSVRC2014_train_00000001": [(CAT, 10, 10, 29, 29)],
    }
    val = {f"ILSVRC2012_val_{i:08}": [((DOG, CAT)[i % 2], 4, 4, 30 + i, 30)] for i in range(8)}
    for split, images in (("train", train), ("val", val)):
        for image_id, objects in images.items():
            ilsvrc_image(root / "Data" / "DET" / split / f"{image_id}.JPEG")
            ilsvrc_xml(root / "Annotations" / "DET" / split / f"{image_id}.xml", image_id, objects)
    ilsvrc_image(root / "Data" / "DET" / "test" / "ILSVRC2012_test_00000001.JPEG")
    lists = root / "ImageSets" / "DET"
    lists.mkdir(parents=True)
    ids = list(train)
    # -1: the class is not in the image, which has no XML file; 0: only a part of its objects is annotated.
    (lists / "train_1.txt").write_text(f"{ids[0]} 1\nILSVRC2013_train_extra0/none -1\n")
    (lists / "train_2.txt").write_text(f"{ids[0]} 1\n{ids[1]} 1\n")
    (lists / "val.txt").write_text("".join(f"{image_id} {i}\n" for i, image_id in enumerate(val, 1)))
    (lists / "test.txt").write_text("ILSVRC2012_test_00000001 1\n")
    return root


def test_train_has_the_marked_images_once(det):
    records, classes, _ = records_of(f"{det}:train")
    assert classes == (DOG, CAT) and len(records) == 2  # in the order of the WNIDs
    boxes = {a["category_id"]: a["bbox"] for a in records[0]["annotations"]}
    assert boxes == {0: [0, 0, W, H], 1: [5, 6, 25, 36]}  # pixels count from 0, and the last is inside
    assert records[0]["image_id"] == f"ILSVRC2013_train/{DOG}/{DOG}_1"


def test_val_falls_into_even_halves(det):
    one, two = (records_of(f"{det}:{name}")[0] for name in ("val1", "val2"))
    ids = [r["image_id"] for r in (*one, *two)]
    assert len(one) == len(two) == 4 and len(set(ids)) == 8
    assert sum(a["category_id"] for r in one for a in r["annotations"]) == 2  # half of the cats
    assert [r["image_id"] for r in records_of(f"{det}:val1")[0]] == [r["image_id"] for r in one]
    assert len(records_of(f"{det}:val")[0]) == 8
    assert find_split(str(det), "val", "--val") == f"{det}:val"


def test_halves_are_more_even_than_one_halving():
    """R-CNN: the "maximum relative class imbalance" of its halves is about 11 %."""
    random = np.random.default_rng(1)
    records = [{"annotations": [{"category": int(c)} for c in random.integers(0, 20, 3)]} for _ in range(400)]
    one, two = halves(records)

    def count(part):
        return np.bincount([a["category"] for r in part for a in r["annotations"]], minlength=20)

    def imbalance(a, b):
        return (np.abs(count(a) - count(b)) / (count(a) + count(b))).max()

    assert len(one) == len(two) == 200 and imbalance(one, two) < imbalance(records[:200], records[200:]) / 1.3
    assert imbalance(one, two) < 0.2


def test_what_is_missing_is_named(det):
    (det / "Annotations" / "DET" / "val" / "ILSVRC2012_val_00000003.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"val_00000003\.xml: broken XML"):
        records_of(f"{det}:val")
    (det / "Data" / "DET" / "train" / "ILSVRC2014_train_0000" / "ILSVRC2014_train_00000001.JPEG").unlink()
    with pytest.raises(InputError, match=r"00000001\.JPEG: missing, but listed"):
        records_of(f"{det}:train")
    with pytest.raises(InputError, match="val3: no such split; there are train, val, val1, val2, test"):
        records_of(f"{det}:val3")


def test_the_papers_data_train_a_detector(det, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(det.parent))
    small = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "SOLVER.MAX_ITER", 1]
    small += ["DATASETS.TRAIN", "('imagenet_det_train','imagenet_det_val1')", "DATASETS.TEST", "('imagenet_det_val2',)"]
    small += ["DATALOADER.NUM_WORKERS", 0, "TEST.EVALUATORS", "('imagenet_det','voc')", "SOLVER.IMS_PER_BATCH", 1]
    small += ["MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.RESNETS.NORM", "BN", "MODEL.RPN.POST_NMS_TOPK_TEST", 10]
    done = train_net("--config-file", "configs/faster_rcnn_resnet18.yaml", *small, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    ((name, row),) = json.loads((tmp_path / "run" / "results.json").read_text()).items()
    assert name == "imagenet_det_val2" and row.keys() >= {"DET AP50", "VOC AP50"} and "detects" not in done.stderr
