"""Options of detectron2's trainer that work in ours: BN's precise statistics, cuDNN's benchmark, expected results."""

from backbones.errors import InputError
from detection.prepare import prepare
from detection.trainer import train

import pytest
import torch
from detection_configs import load_config

OPTIONS = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48]
OPTIONS += ["DATALOADER.NUM_WORKERS", 0, "TEST.PICTURES", 0, "TEST.PRECISE_BN.ENABLED", True]
OPTIONS += ["TEST.PRECISE_BN.NUM_ITER", 2, "TEST.EVAL_PERIOD", 1, "CUDNN_BENCHMARK", True]


def plan_of(shapes, folder, *opts):
    cfg = load_config("demo/faster_rcnn_resnet18_fpn.yaml", *OPTIONS, "OUTPUT_DIR", str(folder), *opts)
    cfg.DATASETS.TRAIN = (str(shapes / "annotations" / "train.json"),)
    cfg.DATASETS.TEST = (str(shapes / "annotations" / "val.json"),)
    return prepare(cfg, eval_only=False)


def test_detectron2s_options_work(shapes, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with caplog.at_level("INFO", logger="residet"):
        results = train(plan_of(shapes, tmp_path / "a"))
    assert torch.backends.cudnn.benchmark
    assert caplog.text.count("BN statistics over 2 batches") == 2  # before each evaluation, as in detectron2
    (row,) = results.values()
    assert (tmp_path / "a" / "model_final.pth").is_file() and "AP" in row
    plan = plan_of(shapes, tmp_path / "b", "TEST.EXPECTED_RESULTS", [["bbox", "AP", 200.0, 1.0]])
    with pytest.raises(InputError, match=r"TEST\.EXPECTED_RESULTS: bbox/AP is .*, not 200"):
        train(plan)
    assert (tmp_path / "b" / "results.json").is_file()  # the run is whole, whatever was expected


def test_precise_statistics_without_bn_are_refused(shapes, tmp_path):
    plan = plan_of(shapes, tmp_path, "MODEL.RESNETS.NORM", "GN", "MODEL.FPN.NORM", "GN")
    with pytest.raises(InputError, match=r"TEST\.PRECISE_BN\.ENABLED: the network has no BN"):
        train(plan)
