"""Shared by all tests: few threads, a fixed seed, and the real data where it lies beside the project."""

import contextlib
import json
import os
import shutil
import signal

os.environ.setdefault("OMP_NUM_THREADS", "2")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts programs in the background so, and the programs that tests start would inherit it.
    with contextlib.suppress(ValueError):  # only the main thread may set it
        signal.signal(signal.SIGINT, signal.default_int_handler)

from detection.data.synthetic import make_shapes

import pytest
import torch
from compiling import environment_in, missing_compiler
from detectron2.utils.events import EventStorage
from filelock import FileLock
from run_tools import PROJECT, run_tool

# torch starts its threads for gradients at the first backward pass, one for each device that it then knows. An export
# makes torch believe in a GPU (a FakeTensor's), and no process that is forked beside such a thread can train.
torch.zeros(1, requires_grad=True).sum().backward()


def pytest_collection_modifyitems(items):
    """As many shares as pytest-xdist has workers, which take one each: files with slow tests first, shared out to all.

    The worker that is done first takes tests from the end of another's share, where they are short.
    """
    workers, files = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [tests for tests in files.values() if any(item.get_closest_marker("slow") for item in tests)]
    quick = [item for tests in files.values() if tests not in slow for item in tests]
    shares = [[item for tests in slow[i::workers] for item in tests] for i in range(workers)]
    for share in shares:
        cut = max(len(items) // workers - len(share), 0)
        share += quick[:cut]
        del quick[:cut]
    items[:] = [item for share in (*shares, quick) for item in share]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    set_threads()


def set_threads():
    """Sums depend on the number of threads: who compares figures to the last bit computes them with the same number."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(autouse=True)
def storage():
    """detectron2's losses write to the current one."""
    with EventStorage() as storage:
        yield storage


@pytest.fixture
def compiler_environment(tmp_path):
    """Variables of a process that uses torch.compile's default backend; skips where there is no C++ compiler for it."""
    if missing_compiler():
        pytest.skip(missing_compiler())
    return environment_in(tmp_path)


def made_once(factory, name, make):
    """A folder that `make` fills. One of pytest-xdist's workers calls it, and the others wait for that worker.

    The workers' own folders lie in one folder, which pytest removes after the last worker's end: there, too, the shared
    folder lies. No test may write to a shared folder.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(folder := factory.mktemp(name))
        return folder
    folder = factory.getbasetemp().parent / name
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed half way
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The demo's data, tiny: 16 training and 6 test images, and their crops."""
    return made_once(tmp_path_factory, "shapes", lambda root: make_shapes(root, train=16, test=6, seed=0))


@pytest.fixture(scope="session")
def detector_run(shapes, tmp_path_factory):
    """The folder of a short training's run: its detections of the six test images have scores from 0.05 to 0.9."""
    return made_once(tmp_path_factory, "detector", lambda folder: train_detector(shapes, folder / "run")) / "run"


def train_detector(shapes, out):
    config = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
    opts = ["SOLVER.MAX_ITER", 60, "SOLVER.IMS_PER_BATCH", 3, "SOLVER.WARMUP_ITERS", 10, "SOLVER.BASE_LR", 0.03]
    opts += ["DATALOADER.NUM_WORKERS", 0, "INPUT.ALBUMENTATIONS", "[]", "MODEL.FPN.OUT_CHANNELS", 32]
    opts += ["INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 112, "TEST.PICTURES", 0]
    opts += ["MODEL.RPN.POST_NMS_TOPK_TEST", 50, "OUTPUT_DIR", out]
    set_threads()
    done = run_tool("train_net.py", "--config-file", config, "--data", shapes, *opts)
    assert done.returncode == 0, done.stderr


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
