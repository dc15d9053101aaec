"""Ensembles of detectors: one equals itself, two are the mean by hand, and what does not fit is refused."""

import json

from backbones.weights.files import read_checkpoint, save_checkpoint
from detection.inference.ensemble import DetectorEnsemble, Member
from detection.inference.modes import as_tested
from detection.inference.sight import OneScale
from detection.trainer import DetectionTrainer

import pytest
import torch
from detection_configs import load_config
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from regions import SMALL, example
from run_tools import assert_clear_error, train_net
from torch import nn

SHAPES = ("cross", "disk", "square", "star", "triangle")


def make(seed, *opts, kind="", size=96, arch="resnet18"):
    cfg = load_config(f"faster_rcnn_resnet18{kind}.yaml", *SMALL, "INPUT.MIN_SIZE_TEST", size, *opts)
    if arch != "resnet18":
        cfg.MODEL.BACKBONE.NAME = f"build_{arch}{kind}_backbone"
    torch.manual_seed(seed)
    model = build_model(cfg)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)  # scores that differ
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.1)
    return cfg, model.eval()


def member(cfg, model, share):
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return Member(OneScale(model, resize), cfg.INPUT.FORMAT, share)


@pytest.mark.parametrize("opts", [(), ("TEST.BOX_REFINEMENTS", 1, "TEST.BOX_VOTING_IOU", 0.5)])
@torch.no_grad()
def test_one_detector_is_itself(opts):
    cfg, model = make(0, *opts)
    (expected,) = model([example()])
    (found,) = DetectorEnsemble([member(cfg, model, 1.0)], "RGB")([example()])
    a, b = found["instances"], expected["instances"]
    assert len(b) > 3 and torch.equal(a.pred_classes, b.pred_classes)
    assert torch.allclose(a.scores, b.scores) and torch.allclose(a.pred_boxes.tensor, b.pred_boxes.tensor, atol=1e-3)


@torch.no_grad()
def test_two_detectors_are_the_mean_over_the_union_of_their_proposals():
    """ResNet, appendix B: "the union set of proposals are processed by an ensemble of per-region classifiers"."""
    a, b = make(0), make(1, kind="_fpn", size=48)  # another network, at half the size
    entry = example()
    seen = {}
    ensemble = DetectorEnsemble([member(*a, 0.25), member(*b, 0.75)], "RGB")
    heads = a[1].roi_heads
    whole = heads.detect

    def detect(proposals, predict, locate):
        seen["regions"] = proposals[0].proposal_boxes.tensor
        (seen["boxes"],), (seen["scores"],) = predict([proposals[0].proposal_boxes])
        return whole(proposals, predict, locate)

    heads.detect = detect
    (found,) = ensemble([entry])
    regions, boxes, scores = [], 0, 0
    for (cfg, model), share, factor in ((a, 0.25, 1.0), (b, 0.75, 0.5)):
        sight = member(cfg, model, 1.0).eye.look(entry["image"])
        assert sight.proposals.image_size == (96 * factor, 96 * factor)
        regions.append(sight.proposals.proposal_boxes.tensor / factor)
        (of_one,), (probabilities,) = sight.predict([Boxes(seen["regions"] * factor)])
        boxes, scores = boxes + share * of_one / factor, scores + share * probabilities
    assert torch.allclose(seen["regions"], torch.cat(regions)) and len(seen["regions"]) == 20
    assert torch.allclose(seen["boxes"], boxes, atol=1e-3) and torch.allclose(seen["scores"], scores, atol=1e-6)
    assert len(found["instances"]) > 3


@torch.no_grad()
def test_each_member_gets_its_own_pixels():
    cfg, model = make(0)
    entry = example()
    mirrored = entry | {"image": entry["image"].flip(0)}
    own = Member(OneScale(model, T.ResizeShortestEdge(96, 1000)), "BGR", 1.0)
    (expected,) = model([mirrored])
    (found,) = DetectorEnsemble([own], "RGB")([entry])
    assert torch.allclose(found["instances"].scores, expected["instances"].scores)
    assert cfg.INPUT.FORMAT == "RGB"


@torch.no_grad()
def test_members_may_look_at_several_scales():
    cfg, model = make(0, "TEST.REGION_SCALES", (64, 128))
    tested = as_tested(cfg, model)
    (expected,) = tested([example()])
    (found,) = DetectorEnsemble([Member(tested, "RGB", 1.0)], "RGB")([example()])
    assert len(expected["instances"]) > 3
    assert torch.allclose(found["instances"].scores, expected["instances"].scores, atol=1e-5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    for number, (kind, size) in enumerate((("", 64), ("_fpn", 96))):
        opts = ["DATASETS.CLASSES", SHAPES, "MODEL.ROI_HEADS.NUM_CLASSES", 5]
        opts += [] if kind else ["MODEL.FPN.OUT_CHANNELS", 256, "MODEL.ROI_BOX_HEAD.FC_DIM", 1024]  # which it ignores
        cfg, model = make(number, *opts, kind=kind, size=size)
        save_checkpoint({"model": model.state_dict(), **DetectionTrainer.metadata(cfg)}, folder / f"{number}.pth")
    return folder


def test_the_tool_evaluates_an_ensemble(files, shapes, tmp_path):
    a, b = files / "0.pth", files / "1.pth"
    args = ["--data", shapes, "--eval-only"]
    tail = ["DATALOADER.NUM_WORKERS", 0, "TEST.PICTURES", 1, "TEST.EVALUATORS", "('coco',)", "OUTPUT_DIR"]
    found = {}
    for name, weights in (("one", [a]), ("same", [a, a]), ("two", [a, b])):
        flags = [x for path in weights for x in ("--weights", path)]
        config = ["--config-file", "configs/faster_rcnn_resnet18.yaml"] if name == "one" else []
        own = [*SMALL[2:-6], "INPUT.MIN_SIZE_TEST", 64] if name == "one" else []
        shares = ["--shares", "1,3"] if name == "two" else []
        done = train_net(*config, *args, *flags, *shares, *own, *tail, tmp_path / name)
        assert done.returncode == 0, done.stderr
        ((_, found[name]),) = json.loads((tmp_path / name / "results.json").read_text()).items()
    assert "share 0.75" in done.stdout and "build_resnet18_fpn_backbone" in done.stdout
    assert found["same"]["AP50"] == pytest.approx(found["one"]["AP50"], abs=0.2)
    assert found["two"] != found["same"] and list((tmp_path / "two" / "pictures").glob("*.png"))


def test_what_is_no_ensemble_is_refused(files, shapes, tmp_path):
    a = files / "0.pth"
    args = ["--data", shapes, "--weights", a, "--weights"]
    output = ["OUTPUT_DIR", tmp_path / "run"]
    assert_clear_error(train_net(*args, a, *output), "--weights: several files are an ensemble")
    done = train_net(*args, a, "--eval-only", "--shares", "1,x", *output)
    assert_clear_error(done, "--shares: 1,x are no numbers")
    done = train_net("--data", shapes, "--weights", a, "--eval-only", "--shares", "1", *output)
    assert_clear_error(done, "--shares: there is no ensemble")
    content = read_checkpoint(a)
    save_checkpoint(content | {"classes": [*SHAPES[:4], "cube"]}, tmp_path / "other.pth")
    done = train_net(*args, tmp_path / "other.pth", "--eval-only", *output)
    assert_clear_error(done, "other.pth: detects 5 classes", "take detectors of the same classes")
    del content["config"]
    save_checkpoint(content, tmp_path / "old.pth")
    done = train_net(*args, tmp_path / "old.pth", "--eval-only", *output)
    assert_clear_error(done, "old.pth: does not say how its detector is built")
