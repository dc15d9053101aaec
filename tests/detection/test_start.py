"""What a training on the user's own data starts from if no weights are named."""

from backbones.weights import hub
from detection import start
from detection.config import default_config
from detection.start import resolve_start
from residet.config import merge_config

import pytest
from huggingface_hub import constants
from run_tools import assert_clear_error, train_net

NOBODY = "http://127.0.0.1:1/"  # refuses every connection
TINY = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TRAIN", "(64,)"]
TINY += ["INPUT.MIN_SIZE_TEST", 64, "TEST.PICTURES", 0, "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "SOLVER.CHECKPOINT_PERIOD", 1]


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY.rstrip("/"))
    monkeypatch.setattr(hub, "ADDRESSES", dict.fromkeys(hub.ADDRESSES, NOBODY))


def config(*opts):
    cfg = default_config()
    merge_config(cfg, "faster_rcnn_resnet18_fpn", list(opts))
    return cfg


def test_one_command_goes_from_a_folder_to_ap_without_a_network(no_network, shapes, tmp_path):
    command = ["--arch", "resnet18", "--data", shapes, *TINY, "OUTPUT_DIR", tmp_path / "run"]
    done = train_net(*command)
    assert done.returncode == 0, done.stderr
    assert "start: random weights" in done.stdout and "cannot be downloaded" in done.stdout
    assert (tmp_path / "run" / "results.json").is_file()
    (tmp_path / "run" / "last_checkpoint").write_text("model_0000000.pth")
    again = train_net(*command, "--resume")
    assert again.returncode == 0, again.stderr  # with the norms and the start that the run began with
    assert_clear_error(train_net(*command[:4], "MODEL.WEIGHTS", "", *command[4:]), "--weights auto", "--from-scratch")


def test_published_weights_are_taken_where_they_can_be_had(monkeypatch, tmp_path):
    monkeypatch.setattr(start, "locate", lambda name, arch: None)
    cfg = config("OUTPUT_DIR", str(tmp_path))
    assert resolve_start(cfg, resume=False) == []
    assert cfg.MODEL.WEIGHTS == "auto" and cfg.MODEL.BACKBONE.FREEZE_AT == 2


@pytest.mark.parametrize("weights", ["auto", ""])
def test_a_resumed_run_keeps_its_start(monkeypatch, tmp_path, weights):
    monkeypatch.setattr(start, "locate", None)
    (tmp_path / "config.yaml").write_text(f"MODEL:\n  WEIGHTS: '{weights}'\n")
    cfg = config("OUTPUT_DIR", str(tmp_path))
    assert resolve_start(cfg, resume=True) == []
    assert (weights, "FrozenBN" if weights else "GN") == (cfg.MODEL.WEIGHTS, cfg.MODEL.RESNETS.NORM)


def test_nobody_has_published_wrn34_2_and_what_trains_everything_needs_no_weights(tmp_path):
    cfg = default_config()
    merge_config(cfg, "faster_rcnn_wrn34_2_fpn", ["OUTPUT_DIR", str(tmp_path)])
    (line,) = resolve_start(cfg, resume=False)
    assert "nobody has published" in line and cfg.MODEL.WEIGHTS == "" and cfg.MODEL.BACKBONE.FREEZE_AT == 0
    assert resolve_start(cfg, resume=False) == []
