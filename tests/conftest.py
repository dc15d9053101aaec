"""Shared by all tests: few threads, a fixed seed, and the real data where it lies beside the project."""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from detection.data.synthetic import make_shapes

import pytest
import torch
from detectron2.utils.events import EventStorage
from run_tools import DATA


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that two processes end together; each file stays in one process."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(autouse=True)
def storage():
    """detectron2's losses write to the current one."""
    with EventStorage() as storage:
        yield storage


@pytest.fixture(scope="session")
def real_data():
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The demo's data, tiny: 16 training and 6 test images, and their crops."""
    root = tmp_path_factory.mktemp("shapes")
    make_shapes(root, train=16, test=6, seed=0)
    return root


@pytest.fixture
def yolo(shapes, tmp_path):
    """The demo's data in YOLO's layout."""
    names = None
    for split in ("train", "val"):
        content = json.loads((shapes / "annotations" / f"{split}.json").read_text())
        names = [c["name"] for c in content["categories"]]
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for image in content["images"]:
            source = shapes / "images" / split / image["file_name"].rsplit("/", 1)[-1]
            (tmp_path / "images" / split / source.name).write_bytes(source.read_bytes())
            lines = ""
            for a in content["annotations"]:
                if a["image_id"] == image["id"]:
                    x, y, w, h = (v / image["width"] for v in a["bbox"])
                    lines += f"{a['category_id']} {x + w / 2:.6f} {y + h / 2:.6f} {w:.6f} {h:.6f}\n"
            (tmp_path / "labels" / split / f"{source.stem}.txt").write_text(lines)
    (tmp_path / "data.yaml").write_text(f"train: images/train\nval: ../images/val\nnames: {names}\n")
    return tmp_path
