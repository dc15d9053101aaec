"""ImageNet localisation: the data as they lie on disk, the per-class RPN, the R-CNN, the error, and one whole run."""

import json

from backbones.catalogue import get_spec
from backbones.dense import Dense
from backbones.errors import InputError
from backbones.weights.files import save_checkpoint
from detection.data.layouts.defects import Defects
from detection.data.synthetic_ilsvrc import make_cls_loc
from detection.localisation.config import check_config, default_config
from detection.localisation.data import (
    TrainingCrops,
    WholeImages,
    clipped,
    numbered,
    read_pixels,
    read_split,
    resize_short,
)
from detection.localisation.evaluator import LocalisationEvaluator
from detection.localisation.prepare import open_split, predict_classes
from detection.localisation.rcnn import Localiser, PerClassRCNN, ProposalWarps, warp
from detection.localisation.rpn import PerClassRPN

import numpy as np
import pytest
import torch
from calibrate import make_norms_matter
from run_tools import assert_clear_error, run_tool

CLASSES = ("cross", "disk", "square", "star", "triangle")
SMALL = ["LOCALISATION.SIZE", 64, "LOCALISATION.RESIZE", 64, "LOCALISATION.SHORT_SIDE", "(64,80)"]
SMALL += ["LOCALISATION.ANCHOR_SIZES", "(24,48)", "LOCALISATION.HIDDEN", 16, "LOCALISATION.PROPOSALS", 6]
SMALL += ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.STEPS", "()", "MODEL.DEVICE", "cpu"]


@pytest.fixture(scope="module")
def ilsvrc(tmp_path_factory):
    return make_cls_loc(tmp_path_factory.mktemp("loc"), train=24, val=6)


@pytest.fixture(scope="module")
def pictures(ilsvrc):
    return numbered(read_split(ilsvrc, "train", Defects()), CLASSES, "train")


def small_config(*opts):
    cfg = default_config()
    cfg.merge_from_list([str(x) if isinstance(x, tuple) else x for x in (*SMALL, *opts)])
    cfg.LOCALISATION.CLASSES = CLASSES
    return cfg


def body():
    """resnet18 without its classifier."""
    network = make_norms_matter(get_spec("resnet18").build(5))
    network.fc = None
    return network


def save_classifier(network, path):
    says = {"task": "classification", "arch": "resnet18", "classes": list(CLASSES)}
    save_checkpoint({"model": network.state_dict(), "mean": [1.0] * 3, "std": [60.0] * 3, **says}, path)


def small_rpn(*opts):
    torch.manual_seed(0)
    return PerClassRPN(body(), small_config(*opts))


def test_settings_are_the_appendixs():
    """Appendix C: "random 224 x 224 crops", "a mini-batch size of 256 images", "8 anchors are randomly sampled for each

    image, where the sampled positive and negative anchors have a ratio of 1:1", "the highest scored 200 proposals".
    """
    cfg = default_config()
    c = cfg.LOCALISATION
    check_config(cfg)
    assert (c.ARCH, c.SIZE, c.ANCHORS_PER_IMAGE, c.PROPOSALS, c.PREDICTED) == ("resnet101_caffe", 224, 8, 200, 5)
    assert cfg.SOLVER.IMS_PER_BATCH == 256 and c.SHORT_SIDE == (256, 480)  # the crops of section 3.4


def test_data_are_read_as_they_lie(ilsvrc, pictures, tmp_path):
    assert len(pictures) == 24 and {p.wnid for p in pictures} == set(CLASSES)
    for picture in pictures:
        assert picture.image_id.startswith(f"{picture.wnid}/") and CLASSES[picture.label] == picture.wnid
        assert picture.boxes.shape == (1, 4) and picture.boxes.max() <= 128
    assert len(read_split(ilsvrc, "val", Defects())) == 6
    with pytest.raises(InputError, match=r"val\.txt: cannot be read"):
        read_split(tmp_path, "val", Defects())
    with pytest.raises(InputError, match="is of class disk, which is none of the classes"):
        numbered([p for p in pictures if p.wnid == "disk"], ("cross",), "here")


def test_crops_keep_their_boxes_on_the_object(pictures):
    data = TrainingCrops(pictures, 64, (64, 80), seed=0)
    again = data[5, 3]
    first = data[5, 3]
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["boxes"], again["boxes"])
    seen = 0
    for position in range(30):
        example = data[position, position % len(pictures)]
        assert example["image"].shape == (3, 64, 64)
        assert ((example["boxes"] >= 0) & (example["boxes"] <= 64)).all()
        seen += len(example["boxes"])
    assert seen >= 28  # ten tries find a crop that shows the object
    assert clipped(torch.tensor([[-5.0, 0, 5, 10], [-6, 0, 4, 10]]), 64, 0.5).tolist() == [[0, 0, 5, 10]]


def test_the_rpn_has_an_output_for_each_class_and_trains_the_images_own(pictures):
    rpn = small_rpn()
    assert rpn.cls.shape == (5, 6, 16) and rpn.reg.shape == (5, 24, 16)  # 2 sizes x 3 ratios
    data = TrainingCrops([p for p in pictures if p.label == 2], 64, (64, 80), seed=0)
    losses = rpn.train()([data[i, 0] for i in range(4)])
    sum(losses.values()).backward()
    trained = [bool(rpn.cls.grad[k].any()) for k in range(5)]
    assert trained == [False, False, True, False, False] and bool(rpn.reg.grad[2].any())
    assert rpn.network.conv1.weight.grad is not None


def test_anchors_are_sampled_one_to_one():
    rpn = small_rpn()
    seen = []
    logits = torch.zeros(1, 1, 24)

    def predict(images, classes):
        anchors = rpn.anchors([torch.zeros(1, 1, 2, 2)])[0].tensor
        return logits.requires_grad_(), torch.zeros(1, 1, 24, 4), anchors

    rpn.predict = predict
    for wide in (24.0, 60.0):
        example = {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "label": 0}
        logits.grad = None
        losses = rpn.train()([example | {"boxes": torch.tensor([[0.0, 0, wide, wide]])}])
        losses["loss_cls"].backward()
        signs = logits.grad.sign()
        seen.append((int((signs < 0).sum()), int((signs > 0).sum())))  # objects, background
    assert all(objects == background <= 4 and objects for objects, background in seen), seen


@torch.no_grad()
def test_boxes_are_in_pixels_of_the_image():
    """The same image in twice the size has boxes twice the size; the crop in its middle moves them."""
    rpn = small_rpn("LOCALISATION.TEST_SCALES", (64,)).eval()
    image = torch.full((3, 64, 96), 90, dtype=torch.uint8)  # which no resizing changes
    once = rpn.propose(image, [1, 4])
    twice = rpn.propose(image.repeat_interleave(2, 1).repeat_interleave(2, 2), [1, 4])
    assert once["boxes"].shape == (2, 6, 4) and (once["scores"].diff(dim=1) <= 0).all()
    assert torch.allclose(once["boxes"] * 2, twice["boxes"], atol=1.5)
    rpn.scales = ()
    image = torch.randint(256, (3, 64, 96), dtype=torch.uint8)
    central = rpn.propose(image, [1])
    cut = rpn.propose(image[:, :, 16:80].contiguous(), [1])
    inside = central["boxes"][0] - torch.tensor([16.0, 0, 16, 0])
    assert torch.allclose(inside.clamp(0, 64), cut["boxes"][0], atol=1e-3)


@torch.no_grad()
def test_several_scales_are_joined():
    rpn = small_rpn("LOCALISATION.TEST_SCALES", (64, 96), "LOCALISATION.PROPOSALS", 1000).eval()
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    both = rpn.propose(image, [0])["scores"][0]
    alone = []
    for side in (64, 96):
        rpn.scales = (side,)
        alone.append(rpn.propose(image, [0])["scores"][0])
    assert torch.allclose(both, torch.cat(alone).sort(descending=True).values)


def test_regions_are_warped_to_squares():
    image = torch.zeros(3, 40, 60)
    image[:, 10:30, 20:50] = 200
    (square,) = warp(image, torch.tensor([[20.0, 10, 50, 30]]), 16)
    assert square.shape == (3, 16, 16) and square.mean() > 190


def test_warps_are_half_objects_and_their_targets_lead_to_the_object(pictures):
    picture = pictures[0]
    truth = torch.from_numpy(picture.boxes)
    near = truth + torch.tensor([[2.0, 0, 2, 0]])
    far = torch.tensor([[0.0, 0, 6, 6]])
    data = ProposalWarps([picture], {picture.image_id: torch.cat([near, far, far])}, 32, 0.5, seed=0)
    examples = [data[i, 0] for i in range(200)]
    objects = [e for e in examples if e["object"]]
    assert 70 <= len(objects) <= 130 and all(e["image"].shape == (3, 32, 32) for e in examples)
    # The object lies 2 px to the left of the proposal, in the mirror image to the right.
    shift = 10 * 2 / float(truth[0, 2] - truth[0, 0])
    assert {round(float(e["deltas"][0]), 4) for e in objects} == {round(shift, 4), round(-shift, 4)}
    assert all(not e["deltas"].any() for e in examples if not e["object"])


def test_the_rcnn_scores_and_moves_each_class_by_its_own_outputs(pictures):
    torch.manual_seed(0)
    cfg = small_config()
    rcnn = PerClassRCNN(body(), cfg)
    examples = [
        {
            "image": torch.randint(256, (3, 64, 64), dtype=torch.uint8),
            "label": 3,
            "object": 1.0,
            "deltas": torch.ones(4),
        }
    ]
    losses = rcnn.train()(examples * 2)
    sum(losses.values()).backward()
    assert [bool(rcnn.cls.weight.grad[k].any()) for k in range(5)] == [k == 3 for k in range(5)]
    assert [bool(rcnn.reg.weight.grad[4 * k : 4 * k + 4].any()) for k in range(5)] == [k == 3 for k in range(5)]
    rcnn.eval()
    with torch.no_grad():
        rcnn.cls.bias[1] = 50.0
        entry = WholeImages(pictures, {pictures[0].image_id: [1, 2]})[0]
        (found,) = Localiser(small_rpn().eval(), rcnn)([entry])
        assert found["boxes"].shape == (3, 6, 4) and entry["classes"] == [pictures[0].label, 1, 2]
        assert found["scores"][1].min() > 0.99 > found["scores"][2].max()


def test_the_error_is_ilsvrcs():
    truth = torch.tensor([[10.0, 10, 30, 30]])
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    right, wrong = [10.0, 10, 30, 28], [60.0, 60, 80, 80]

    def output(*boxes):
        return {"boxes": torch.tensor(boxes)[:, None]}

    evaluator = LocalisationEvaluator()
    evaluator.reset()
    base = {"image": image, "boxes": truth, "label": 2}
    evaluator.process(
        [
            base | {"classes": [2, 2, 1]},  # right class first, right box
            base | {"classes": [2, 1, 2]},  # right class second
            base | {"classes": [2, 1, 2]},  # right class, wrong box
            base | {"classes": [2, 0, 1]},  # wrong classes
            base | {"classes": [2, 2, 1], "boxes": torch.tensor([[5.0, 5, 95, 95]])},
        ],
        [
            output(right, right, wrong),
            output(right, wrong, right),
            output(wrong, right, wrong),
            output(right, right, right),
            output(wrong, wrong, wrong),
        ],
    )
    assert evaluator.evaluate()["loc"] == {
        "images": 5,
        "oracle_error": 40.0,
        "centre_box_error": 80.0,
        "top1_error": 80.0,
        "top2_error": 60.0,
        "class_error": 20.0,
    }
    evaluator.reset()  # of a single prediction, the best is all
    evaluator.process([base | {"classes": [2, 0]}], [output(right, right)])
    assert evaluator.evaluate()["loc"] == {
        "images": 1,
        "oracle_error": 0.0,
        "centre_box_error": 100.0,
        "top1_error": 100.0,
        "class_error": 100.0,
    }
    evaluator.reset()  # the baseline has one size for all images, the one with the least errors
    for side in (40.0, 44.0, 90.0):
        boxes = torch.tensor([[50 - side / 2, 50 - side / 2, 50 + side / 2, 50 + side / 2]])
        evaluator.process([base | {"classes": [2], "boxes": boxes}], [output(right)])
    assert evaluator.evaluate()["loc"]["centre_box_error"] == pytest.approx(100 / 3)


@torch.no_grad()
@pytest.mark.parametrize("scales", [(), (64, 96)])
def test_classes_are_predicted_on_the_central_crop_or_on_whole_images(scales, ilsvrc, tmp_path):
    network = make_norms_matter(get_spec("resnet18").build(5)).eval()
    save_classifier(network, tmp_path / "clf.pth")
    cfg = small_config("LOCALISATION.DATA", str(ilsvrc), "LOCALISATION.RESIZE", 96, "LOCALISATION.TEST_SCALES", scales)
    predicted = predict_classes(cfg, str(tmp_path / "clf.pth"))
    for picture in open_split(cfg, "val"):
        image = (read_pixels(picture.path)[None].float() - 1) / 60
        if scales:
            scores = Dense(scales, 64, {"antialias": True})(network, image)
        else:
            scores = network(((resize_short(read_pixels(picture.path), 96)[0] - 1.0) / 60)[None, :, 16:80, 16:80])
        assert predicted[picture.image_id] == scores[0].topk(5).indices.tolist()


@pytest.mark.slow
def test_one_command_trains_both_stages_and_goes_on(ilsvrc, tmp_path, monkeypatch):
    seen, whole = set(), PerClassRPN.propose
    monkeypatch.setattr(PerClassRPN, "propose", lambda rpn, *args: seen.add(rpn.scales) or whole(rpn, *args))
    save_classifier(make_norms_matter(get_spec("resnet18").build(5)), tmp_path / "clf.pth")
    args = ["--data", ilsvrc, "--arch", "resnet18", "--weights", tmp_path / "clf.pth"]
    opts = [*SMALL, "LOCALISATION.PREDICTED", 2, "SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path / "run"]
    done = run_tool("localise.py", *args, *opts)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results) == {"rpn", "rcnn"} and results["rpn"]["images"] == 6
    assert seen == {(), (64,)}  # tested on central crops; the R-CNN trains on boxes of whole images
    assert {"oracle_error", "top2_error", "centre_box_error"} <= set(results["rcnn"])
    assert "| centre box, true class" in done.stdout
    stamp = (tmp_path / "run" / "rpn" / "model_final.pth").stat().st_mtime_ns
    (tmp_path / "run" / "rcnn" / "results.json").unlink()
    done = run_tool("localise.py", *args, *opts)
    assert_clear_error(done, "holds the stage rpn of another run; give --resume")
    done = run_tool("localise.py", *args, "--resume", *opts, "SOLVER.MAX_ITER", 3)
    assert done.returncode == 0 and "resumed at iteration 2 of 3" in done.stdout, done.stderr
    assert (tmp_path / "run" / "rpn" / "model_final.pth").stat().st_mtime_ns == stamp
    done = run_tool("localise.py", *args, "--eval-only", *opts, "LOCALISATION.TEST_SCALES", "(64,96)")
    assert done.returncode == 0, done.stderr
    dense = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(dense) == {"rpn", "rcnn"} and dense["rpn"]["images"] == 6 and seen == {(), (64,), (64, 96)}


def test_mistakes_are_named(ilsvrc, tmp_path):
    done = run_tool("localise.py", "--data", tmp_path, "OUTPUT_DIR", tmp_path / "run")
    assert_clear_error(done, "--data:", "is no folder ILSVRC")
    done = run_tool("localise.py", "--data", ilsvrc, "LOCALISATION.SIZE", 300, "OUTPUT_DIR", tmp_path / "run")
    assert_clear_error(done, "LOCALISATION.SIZE: 300 must be")
    says = {"task": "classification", "arch": "resnet18", "classes": ["a", "b"]}
    save_checkpoint({"model": get_spec("resnet18").build(2).state_dict(), **says}, tmp_path / "other.pth")
    args = ["--data", ilsvrc, "--arch", "resnet18", "--weights", tmp_path / "other.pth", *SMALL]
    done = run_tool("localise.py", *args, "OUTPUT_DIR", tmp_path / "run")
    assert_clear_error(done, "other.pth: does not know 5 of the 5 classes")
    assert np.all([p.suffix != ".pth" for p in (tmp_path / "run").iterdir()])
