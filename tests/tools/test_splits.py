"""train_net.py on a table of boxes that nobody has split: one split for the run and all that follows from it."""

import csv
import json

from detection.config import default_config
from detection.data.layouts.split_list import absolute, write_split_list
from detection.data.splitting import resolve_test_data

import pytest
from run_tools import PROJECT, assert_clear_error, run_tool, train_net

CONFIG = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
TINY = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TRAIN", "(64,)"]
TINY += ["INPUT.MIN_SIZE_TEST", 64, "TEST.PICTURES", 0, "SOLVER.BASE_LR", 1e-4]


@pytest.fixture(scope="module")
def table(shapes, tmp_path_factory):
    """The demo's training data as one table beside its images."""
    root = tmp_path_factory.mktemp("table")
    content = json.loads((shapes / "annotations" / "train.json").read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    files = {i["id"]: i["file_name"].rsplit("/", 1)[-1] for i in content["images"]}
    for name in files.values():
        (root / name).write_bytes((shapes / "images" / "train" / name).read_bytes())
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "xmin", "ymin", "xmax", "ymax", "class"])
        for a in content["annotations"]:
            x, y, w, h = a["bbox"]
            writer.writerow([files[a["image_id"]], x, y, x + w, y + h, names[a["category_id"]]])
    return root


def run(data, out, *options):
    return train_net("--config-file", CONFIG, "--data", data, *options, *TINY, "OUTPUT_DIR", out)


def test_a_run_splits_its_data_once(table, tmp_path):
    before, out = sorted(table.iterdir()), tmp_path / "run"
    done = run(table, out, "--val-share", 0.25)
    assert done.returncode == 0, done.stderr
    assert "images (25%) are for the test" in done.stdout and sorted(table.iterdir()) == before
    lists = {path.name: path.read_bytes() for path in (out / "splits").iterdir()}
    assert set(lists) == {"train.split.json", "val.split.json"}
    tested = set(json.loads(lists["val.split.json"])["images"])
    assert len(tested) == 4 and not tested & set(json.loads(lists["train.split.json"])["images"])
    config = ["--config-file", out / "config.yaml", "--weights", out / "model_final.pth"]
    evaluated = train_net(*config, "--eval-only", "OUTPUT_DIR", tmp_path / "eval")
    assert evaluated.returncode == 0, evaluated.stderr
    (first,), (second,) = (json.loads((r / "results.json").read_text()).values() for r in (out, tmp_path / "eval"))
    assert first["AP50"] == pytest.approx(second["AP50"], nan_ok=True)
    for name in ("--data", "--val"):
        options = ["--eval-only", "--weights", out / "model_final.pth", name, table, "OUTPUT_DIR", tmp_path / name]
        evaluated = train_net("--config-file", CONFIG, *TINY, *options)
        assert evaluated.returncode == 0, evaluated.stderr
        assert (": 4 images, " if name == "--data" else ": 16 images, ") in evaluated.stdout
        assert ("the run of the weights has held back" in evaluated.stdout) == (name == "--data")
    again = train_net(
        "--config-file", CONFIG, "--data", table, "--resume", *TINY, "SOLVER.MAX_ITER", 3, "OUTPUT_DIR", out
    )
    assert again.returncode == 0, again.stderr
    assert lists == {path.name: path.read_bytes() for path in (out / "splits").iterdir()}
    inspected = run_tool(
        "inspect_data.py", out / "splits" / "val.split.json", "--samples", 0, "--output", tmp_path / "i"
    )
    assert inspected.returncode == 0 and "4 images" in inspected.stdout


def test_a_share_for_data_with_test_data_is_refused(shapes, tmp_path):
    assert_clear_error(run(shapes, tmp_path / "run", "--val-share", 0.1), "--val-share", "nothing is split")


def test_a_run_that_is_refused_for_its_weights_leaves_no_lists(table, tmp_path):
    done = run(table, tmp_path / "run", "--weights", tmp_path / "none.pth")
    assert_clear_error(done, "none.pth")
    assert not (tmp_path / "run" / "splits").exists()


def test_weights_of_a_phase_belong_to_the_lists_of_their_run(tmp_path):
    lists, weights = tmp_path / "run" / "splits" / "val.split.json", tmp_path / "run" / "2_detector" / "model.pth"
    write_split_list(lists, absolute(f"{tmp_path}:all"), ["a.jpg"], 1, 0.2)
    for data, path, tested in (
        (f"{tmp_path}:all", weights, str(lists)),
        (f"{tmp_path}:all", lists.parent.parent / "model.pth", str(lists)),
        (f"{tmp_path}:all", tmp_path / "model.pth", f"{tmp_path}:all"),
        (f"{tmp_path / 'other'}:all", weights, f"{tmp_path / 'other'}:all"),
    ):
        cfg = default_config()
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MODEL.WEIGHTS = (data,), (), str(path)
        resolve_test_data(cfg, eval_only=True, resume=False, asked=False)
        assert list(cfg.DATASETS.TEST) == [tested]


def test_an_evaluation_of_data_without_test_data_takes_all_images(table, tmp_path):
    done = run(table, tmp_path / "run", "--eval-only", "--weights", tmp_path / "none.pth")
    assert_clear_error(done, "none.pth")
    assert not (tmp_path / "run" / "splits").exists()
