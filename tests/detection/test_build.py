"""Detectors from a checkpoint alone, and from a config with weights."""

import detection
from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from detection.trainer import DetectionTrainer

import pytest
import torch
from detection_configs import FOLDER, load_config
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone, build_model
from regions import SMALL, example


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a small detector of three classes, and the model in it."""
    path = tmp_path_factory.mktemp("detector") / "model_final.pth"
    opts = [*SMALL, "DATASETS.CLASSES", ("a", "b", "c"), "INPUT.MIN_SIZE_TEST", 96, "MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0]]
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", *opts)
    model = build_model(cfg).eval()
    save_checkpoint({"model": model.state_dict(), **DetectionTrainer.metadata(cfg)}, path)
    return path, model


def test_a_checkpoint_alone_is_enough(trained):
    path, model = trained
    ours = detection.build_detector(path)
    assert ours.classes == ("a", "b", "c") and not ours.training
    assert ours.cfg.INPUT.MIN_SIZE_TEST == 96 and ours.cfg.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0]
    with torch.no_grad():
        (got,), (expected,) = ours([example()]), model([example()])
    assert torch.equal(got["instances"].scores, expected["instances"].scores) and len(expected["instances"]) > 0
    assert torch.equal(got["instances"].pred_boxes.tensor, expected["instances"].pred_boxes.tensor)


def test_options_override_what_the_checkpoint_says(trained):
    model = detection.build_detector(trained[0], options=["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0])
    with torch.no_grad():
        assert len(model([example()])[0]["instances"]) == 0
    with pytest.raises(InputError, match=r"did you mean MODEL\.ROI_HEADS\.SCORE_THRESH_TEST"):
        detection.build_detector(trained[0], options=["MODEL.ROI_HEADS.SCORE_TRESH_TEST", 1.0])


def test_memory_format_nhwc_detects_the_same(trained):
    path, model = trained
    ours = detection.build_detector(path, options=["MODEL.CHANNELS_LAST", True])
    assert ours.backbone.bottom_up.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        (got,), (expected,) = ours([example()]), model([example()])
    torch.testing.assert_close(got["instances"].scores, expected["instances"].scores, rtol=0, atol=1e-5)
    boxes = [found["instances"].pred_boxes.tensor for found in (got, expected)]
    torch.testing.assert_close(*boxes, rtol=0, atol=1e-3)


def test_the_pixels_of_the_weights_are_not_overridden(trained):
    assert detection.build_detector(trained[0], options=["INPUT.FORMAT", "RGB"]).cfg.INPUT.FORMAT == "RGB"
    for options in (["INPUT.FORMAT", "BGR"], ["MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0]]):
        with pytest.raises(InputError, match=rf"{options[0]}: .*model_final\.pth was trained with .*leave the key out"):
            detection.build_detector(trained[0], options=options)


def test_a_config_takes_weights(trained):
    path, model = trained
    config = FOLDER / "faster_rcnn_resnet18_fpn.yaml"
    ours = detection.build_detector(config, weights=path, options=SMALL)
    assert ours.classes == ("a", "b", "c")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in ours.state_dict().items())
    assert detection.build_detector(config, options=SMALL).classes == ()  # random weights


def test_a_checkpoint_that_does_not_say_how_it_is_built_is_refused(trained, tmp_path):
    content = read_checkpoint(trained[0])
    del content["config"]
    save_checkpoint(content, tmp_path / "old.pth")
    with pytest.raises(InputError, match="does not say how its detector is built; name its config"):
        detection.build_detector(tmp_path / "old.pth")
    for broken in ("MODEL: [", "MODEL: {NO_SUCH_KEY: 1}", "3"):
        save_checkpoint(content | {"config": broken}, tmp_path / "broken.pth")
        with pytest.raises(InputError, match=r"broken\.pth: its config cannot be read"):
            detection.build_detector(tmp_path / "broken.pth")
    with pytest.raises(InputError, match="holds weights already"):
        detection.build_detector(trained[0], weights=trained[0])


def test_blocks_start_at_the_scale_that_the_config_names():
    for config in ("bccd/resnet18_fpn.yaml", "bccd/ablation/baseline_resnet18.yaml"):  # with stage 5 in the head
        for scale in (0.2, 1.0):
            state = build_model(load_config(config, "MODEL.RESNETS.RESIDUAL_SCALE", scale)).state_dict()
            last = [value for name, value in state.items() if name.endswith("bn2.weight")]
            assert len(last) == 8 and all((value == scale).all() for value in last)


def test_detectron2s_own_config_starts_as_the_papers_do():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.RESNETS.OUT_FEATURES = "build_resnet18_backbone", ["res5"]
    assert (build_backbone(cfg).layer1[0].bn2.weight == 1).all()
