"""Shared by all tests: few threads, a fixed seed, and the real data where it lies beside the project."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

from detection.shapes import make_shapes

import pytest
import torch
from detectron2.utils.events import EventStorage

PROJECT = Path(__file__).parents[1]
DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    torch.set_num_threads(2)


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
