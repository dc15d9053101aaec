"""A detector's training that was killed and gone on with has the losses and weights of one that never was."""

import json
import signal

from backbones.api import create_network
from backbones.weights.files import save_checkpoint

import pytest
import torch
from run_tools import PROJECT, train_net
from stopped_runs import assert_same_files, stopped

CONFIG = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
# Everything that has a state: augmentation, sampled regions, BN, EMA, the best checkpoint, validation losses.
RUN = ["SOLVER.MAX_ITER", 9, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.ACCUMULATE", 2, "SOLVER.CHECKPOINT_PERIOD", 1]
RUN += ["INPUT.MIN_SIZE_TRAIN", "(48, 64)", "INPUT.MIN_SIZE_TEST", 48, "TEST.EVAL_PERIOD", 3, "TEST.PICTURES", 1]
RUN += ["TEST.BEST_METRIC", "validation/total_loss", "TEST.LOSS", True, "SOLVER.EMA.DECAY", 0.9]
RUN += [
    "SOLVER.AMP.ENABLED",
    True,
    "SOLVER.AMP.DTYPE",
    "bfloat16",
    "SOLVER.CHECKPOINTS_KEPT",
    2,
    "DATALOADER.NUM_WORKERS",
    1,
]
RUN += ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD", 0.9]
RUN += ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
RUN += ["SOLVER.BASE_LR", 0.001, "SOLVER.CLIP_GRADIENTS.ENABLED", True]
# With a scaler. Convolutions in float16 are slow on CPUs, so that only the layers behind the network learn.
# Their network's weights are those of a file.
SCALED = ["SOLVER.AMP.DTYPE", "float16", "SOLVER.MAX_ITER", 4, "MODEL.BACKBONE.FREEZE_AT", 5]


def arguments(shapes, output, extra):
    options = map(str, [*RUN, *extra])
    return ["--config-file", str(CONFIG), "--data", str(shapes), *options, "OUTPUT_DIR", str(output)]


def stopped_run(shapes, output, signal_name, points, *extra):
    return stopped(arguments(shapes, output, extra), output, signal_name, points, tool="train_net")


def whole_run(shapes, output, *extra):
    torch.set_num_threads(1)  # as the processes that are stopped have
    done = train_net(*arguments(shapes, output, extra))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_killed_at_ten_points(shapes, tmp_path):
    whole_run(shapes, tmp_path / "whole")
    points = [["step", 2], ["save", 2], ["rename", 1], ["test", 1], ["step", 1]]
    points += [["save", 3], ["rename", 4], ["test", 1], ["save", 1], ["step", 2]]
    assert stopped_run(shapes, tmp_path / "run", "KILL", points) == [-signal.SIGKILL] * 10
    assert_same_runs(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_sigterm_saves_and_exits(shapes, tmp_path):
    network = create_network("resnet18", num_classes=2)
    save_checkpoint({"model": network.state_dict(), "arch": "resnet18"}, tmp_path / "resnet18.pth")
    scaled = [*SCALED, "MODEL.WEIGHTS", tmp_path / "resnet18.pth"]
    whole_run(shapes, tmp_path / "whole", *scaled)
    assert stopped_run(shapes, tmp_path / "run", "TERM", [["batch", 1], ["batch", 2]], *scaled) == [0, 0]
    assert (tmp_path / "run.log").read_text().count("stopped by SIGTERM") == 2
    assert_same_runs(tmp_path / "whole", tmp_path / "run")


def assert_same_runs(one, other):
    for folder in (one, other):
        results = json.loads((folder / "results.json").read_text())
        assert "validation/total_loss" in next(iter(results.values()))
        for row in results.values():
            row.pop("seconds", None)
        (folder / "results.json").write_text(json.dumps(results))
    assert_same_files(one, other)
