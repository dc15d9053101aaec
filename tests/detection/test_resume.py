"""A detector's training that was killed and gone on with has the losses and weights of one that never was."""

import json
import random
import signal

import pytest
from run_tools import PROJECT
from stopped_runs import assert_same_files, stopped

CONFIG = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
# Everything that has a state: augmentation, sampled regions, BN, EMA, the best checkpoint, validation losses, a scaler.
RUN = ["SOLVER.MAX_ITER", 12, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.ACCUMULATE", 2, "SOLVER.CHECKPOINT_PERIOD", 1]
RUN += ["INPUT.MIN_SIZE_TRAIN", "(48, 64)", "INPUT.MIN_SIZE_TEST", 48, "TEST.EVAL_PERIOD", 4, "TEST.PICTURES", 1]
RUN += ["TEST.BEST_METRIC", "validation/total_loss", "TEST.LOSS", True, "SOLVER.EMA.DECAY", 0.9]
RUN += ["SOLVER.AMP.ENABLED", True, "SOLVER.CHECKPOINTS_KEPT", 2, "DATALOADER.NUM_WORKERS", 1]
RUN += ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD", 0.9]
RUN += ["SOLVER.BASE_LR", 0.001, "SOLVER.CLIP_GRADIENTS.ENABLED", True]


def run(shapes, output, *args, **options):
    start = ["--config-file", str(CONFIG), "--data", str(shapes), *map(str, RUN), "OUTPUT_DIR", str(output)]
    return stopped(start, output, *args, tool="train_net", **options)


@pytest.fixture(scope="module")
def uninterrupted(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(shapes, folder, "KILL", [])
    return folder


@pytest.mark.slow
def test_killed_at_ten_points(shapes, uninterrupted, tmp_path):
    draw = random.Random(0)
    points = ["saving" if i % 3 == 2 else draw.uniform(0, 3) for i in range(10)]
    report = run(shapes, tmp_path / "run", "KILL", points)
    assert report["stopped"] >= 6 and set(report["codes"]) == {-signal.SIGKILL}
    assert_same_runs(uninterrupted, tmp_path / "run")


@pytest.mark.slow
def test_sigterm_saves_and_exits(shapes, uninterrupted, tmp_path):
    report = run(shapes, tmp_path / "run", "TERM", [0.6, 0.5], group=True)
    assert report["codes"] and set(report["codes"]) == {0}
    assert_same_runs(uninterrupted, tmp_path / "run")


def assert_same_runs(one, other):
    for folder in (one, other):
        results = json.loads((folder / "results.json").read_text())
        assert "validation/total_loss" in next(iter(results.values()))
        for row in results.values():
            row.pop("seconds", None)
        (folder / "results.json").write_text(json.dumps(results))
    assert_same_files(one, other)
