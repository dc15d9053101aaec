"""The WRN-34-2 detection system, piece by piece: LocNet's localisation and MultiPathNet's head."""

import itertools
import math

from backbones.errors import InputError
from detection.heads.locnet import MODES, Localiser, balanced_loss, decode, encode
from detection.heads.multipath import DEPTHS, FOVEAL, IntegralOutputLayers, integral_labels
from detection.heads.roi_heads import RegionHeads
from detection.heads.windows import scale_boxes

import pytest
import torch
from detection_configs import load_config
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from regions import SMALL, example, regions_of
from torch import nn
from torch.nn import functional as F

REGION = torch.tensor([[10.0, 20.0, 38.0, 76.0]])  # 28 columns of one pixel, 28 rows of two


def test_targets_mark_the_columns_and_rows_of_the_object():
    inside, first, last = encode(REGION, torch.tensor([[13.0, 30.0, 20.5, 200.0]]), MODES["combined"], 28)[0, 0]
    assert inside.nonzero().flatten().tolist() == list(range(3, 11)) and first.argmax() == 3 and last.argmax() == 10
    inside, first, last = encode(REGION, torch.tensor([[13.0, 30.0, 20.5, 200.0]]), MODES["combined"], 28)[0, 1]
    assert first.argmax() == 5 and last.argmax() == 27 and inside.sum() == 23  # cut off at the region's edge


@pytest.mark.parametrize("mode", MODES)
def test_the_most_likely_box_is_found(mode):
    """Against all pairs of borders, one by one."""
    kinds, m = MODES[mode], 7
    p = torch.rand(4, 2, len(kinds), m, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    regions = torch.tensor([[0.0, 0.0, 7.0, 14.0]]).repeat(4, 1)
    boxes = decode(regions, p, kinds)
    for n, axis in itertools.product(range(4), range(2)):
        of = dict(zip(kinds, p[n, axis].tolist(), strict=True))

        def likelihood(a, b, of=of):
            value = 0.0
            if "inside" in of:
                value += sum(math.log(q) if a <= i <= b else math.log(1 - q) for i, q in enumerate(of["inside"]))
            if "inside" in of and "first" in of:
                value += math.log(of["first"][a] / (1 - of["first"][a])) + math.log(of["last"][b] / (1 - of["last"][b]))
            elif "first" in of:
                value += math.log(of["first"][a]) + math.log(of["last"][b])
            return value

        a, b = max(((a, b) for a in range(m) for b in range(a, m)), key=lambda ab: likelihood(*ab))
        pixels = 1 + axis
        assert boxes[n, [axis, axis + 2]].tolist() == pytest.approx([a * pixels, (b + 1) * pixels], abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_true_probabilities_give_the_object_back(mode):
    objects = torch.tensor([[13.0, 30.0, 21.0, 66.0]])
    found = decode(REGION, encode(REGION, objects, MODES[mode], 28), MODES[mode])
    assert torch.allclose(found, objects, atol=1e-4)


def test_a_borders_one_weighs_as_much_as_the_others():
    wanted = encode(REGION, torch.tensor([[13.0, 30.0, 21.0, 66.0]]), MODES["borders"], 28)
    logits = torch.zeros_like(wanted, requires_grad=True)
    loss = balanced_loss(logits, wanted, MODES["borders"])
    loss.backward()
    for vector, target in zip(logits.grad[0].flatten(0, 1), wanted[0].flatten(0, 1), strict=True):
        assert vector[target == 1].abs().sum() == pytest.approx(float(vector[target == 0].abs().sum()))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-4)


def test_search_regions_keep_their_centre():
    found = scale_boxes(Boxes(torch.tensor([[10.0, 10, 20, 30]])), 1.8)
    assert torch.allclose(found.tensor, torch.tensor([[6.0, 2, 24, 38]]))


def make_localiser(mode="combined", names=("p2", "p3")):
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", *SMALL, "MODEL.ROI_LOC_HEAD.CONV_DIM", 16)
    cfg.merge_from_list(["MODEL.ROI_LOC_HEAD.MODE", mode, "MODEL.ROI_HEADS.IN_FEATURES", list(names)])
    return Localiser(cfg, {n: ShapeSpec(channels=8, stride=4 * 2**i) for i, n in enumerate(names)})


def test_it_learns_where_an_object_lies():
    torch.manual_seed(0)
    localiser = make_localiser(names=("p2",))
    features = {"p2": torch.zeros(1, 8, 32, 32)}
    features["p2"][:, :, 8:20, 10:16] = 1  # an object of 40 to 64 and 32 to 80 pixels
    truth = Instances((128, 128), gt_boxes=Boxes(torch.tensor([[40.0, 32, 64, 80]])), gt_classes=torch.tensor([1]))
    near = Boxes(torch.tensor([[36.0, 30, 70, 84], [44, 36, 66, 74], [38, 24, 60, 76]]))
    optimizer = torch.optim.Adam(localiser.parameters(), 3e-3)
    for _ in range(60):
        loss = localiser.losses(features, [near], [truth])["loss_loc"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (found,) = localiser(features, [near], [torch.ones(3, dtype=torch.int64)])
    assert torch.allclose(found.tensor, truth.gt_boxes.tensor.expand(3, 4), atol=4)
    far = localiser.losses(features, [Boxes(torch.tensor([[0.0, 0, 10, 10]]))], [truth])["loss_loc"]
    assert far.item() == 0 and far.requires_grad  # a region without an object trains nothing, but DDP needs a graph
    (empty,) = localiser(features, [near[:0]], [torch.zeros(0, dtype=torch.int64)])
    assert len(empty) == 0


def test_each_class_has_probabilities_of_its_own():
    localiser = make_localiser("in_out")
    features = {"p2": torch.randn(1, 8, 32, 32), "p3": torch.randn(1, 8, 16, 16)}
    regions = [Boxes(torch.tensor([[10.0, 10, 60, 60]] * 2))]
    a, b = localiser.logits(features, regions, torch.tensor([0, 2]))
    assert a.shape == (2, 1, 28) and not torch.allclose(a, b)


# MultiPathNet


def make_multipath(*opts):
    cfg = load_config("paper/wrn/multipathnet_wrn34_2_coco.yaml", *SMALL, "MODEL.ROI_LOC_HEAD.CONV_DIM", 16)
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_resnet18_backbone", "MODEL.ROI_BOX_HEAD.CONV_DIM", 16, *opts])
    torch.manual_seed(0)
    return build_model(cfg).eval()


def test_windows_are_concentric():
    boxes = Boxes(torch.tensor([[10.0, 10, 20, 30]]))
    assert [scale_boxes(boxes, s).tensor[0].tolist() for s in (1.0, 4.0)] == [[10, 10, 20, 30], [-5, -20, 35, 60]]
    assert FOVEAL == (1.0, 1.5, 2.0, 4.0)


def test_each_window_sees_the_maps_of_its_depth():
    model = make_multipath()
    for tower, depth in zip(model.roi_heads.towers, DEPTHS, strict=True):
        features = {k: v.detach().requires_grad_() for k, v in model.backbone(torch.randn(1, 3, 96, 96)).items()}
        tower(features, [Boxes(torch.tensor([[20.0, 20, 60, 70]]))]).sum().backward()
        seen = [name for name, f in features.items() if f.grad is not None and f.grad.abs().sum() > 0]
        assert seen == ["res3", "res4", "res5"][-depth:]


@torch.no_grad()
def test_no_depth_drowns_another():
    model = make_multipath()
    features = model.backbone(torch.randn(1, 3, 96, 96))
    boxes = [Boxes(torch.tensor([[20.0, 20, 60, 70], [0, 0, 90, 90]]))]
    tower = model.roi_heads.towers[0]
    louder = features | {"res3": features["res3"] * 50}
    assert torch.allclose(tower(features, boxes), tower(louder, boxes), rtol=1e-4, atol=1e-5)
    assert model.roi_heads.box_features(features, boxes).shape == (2, 4 * 32)


def test_labels_follow_the_overlap_of_each_classifier():
    proposals = Instances((100, 100))
    proposals.proposal_boxes = Boxes(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5.2], [50, 50, 60, 60]]))
    proposals.gt_boxes = Boxes(torch.tensor([[0.0, 0, 10, 10]] * 4))
    proposals.gt_classes = torch.tensor([2, 2, 2, 3])
    labels = integral_labels(proposals, (0.5, 0.55, 0.65), 3)
    assert labels.tolist() == [[2, 2, 2], [2, 2, 3], [2, 3, 3], [3, 3, 3]]
    proposals.remove("gt_boxes")
    assert integral_labels(proposals, (0.5, 0.7), 3).shape == (4, 2)


def test_the_integral_loss_is_the_mean_over_thresholds():
    model = make_multipath()
    predictor = model.roi_heads.box_predictor
    assert isinstance(predictor, IntegralOutputLayers)
    assert predictor.thresholds == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    scores, deltas = predictor(torch.randn(2, 128))
    proposals = Instances((100, 100), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 10, 6.2], [0, 0, 10, 10]])))
    proposals.gt_boxes = Boxes(torch.tensor([[0.0, 0, 10, 10]] * 2))
    proposals.gt_classes = torch.tensor([1, 0])
    labels = torch.tensor([[1, 0]] * 3 + [[3, 0]] * 3)
    expected = torch.stack([F.cross_entropy(scores[:, u], labels[u]) for u in range(6)]).mean()
    losses = predictor.losses((scores, deltas), [proposals])
    assert losses["loss_cls"].item() == pytest.approx(expected.item())
    # The first region, of IoU 0.62, is an object for three of the six thresholds; the second, which is right, for all.
    target = predictor.box2box_transform.get_deltas(proposals.proposal_boxes.tensor, proposals.gt_boxes.tensor)
    of_region = F.smooth_l1_loss(
        torch.stack([deltas[0, 4:8], deltas[1, :4]]), target, beta=predictor.smooth_l1_beta, reduction="none"
    ).sum(dim=1)
    assert losses["loss_box_reg"].item() == pytest.approx((0.5 * of_region[0] + of_region[1]).item() / 2, rel=1e-5)
    (probabilities,) = predictor.predict_probs((scores, deltas), [proposals])
    assert torch.allclose(probabilities, scores.softmax(dim=2).mean(dim=1))


def test_each_iteration_samples_for_one_classifier_and_trains_it():
    """A quarter of the regions are objects at the IoU of the classifier that was drawn, if there are so many."""
    heads = make_multipath("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16).roi_heads
    target = Instances((100, 100), gt_boxes=Boxes(torch.tensor([[0.0, 0, 100, 100]])), gt_classes=torch.tensor([1]))
    heights = torch.arange(12.0, 100.0)  # IoU 0.12 to 0.99
    boxes = torch.stack([torch.zeros(88), torch.zeros(88), torch.full((88,), 100.0), heights], dim=1)
    proposals = Instances((100, 100), proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(88))
    seen = set()
    torch.manual_seed(0)
    for _ in range(40):
        (sampled,) = heads.label_and_sample_proposals([proposals], [target])
        (drawn,) = sampled.gt_classifiers.unique()
        iou = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)[drawn]
        overlap = sampled.proposal_boxes.tensor[:, 3] / 100
        assert torch.equal(sampled.gt_classes == 1, overlap >= iou)
        assert len(sampled) == 16 and int((sampled.gt_classes == 1).sum()) == 4
        seen.add(int(drawn))
    assert len(seen) == 6
    predictor = heads.box_predictor
    scores, deltas = predictor(torch.randn(16, predictor.cls_scores[0].in_features))
    losses = predictor.losses((scores, deltas), [sampled])
    expected = F.cross_entropy(scores[:, drawn], sampled.gt_classes)
    assert losses["loss_cls"].item() == pytest.approx(expected.item())
    losses["loss_cls"].backward()
    assert [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in predictor.cls_scores] == [
        u == drawn for u in range(6)
    ]
    once = make_multipath("MODEL.ROI_BOX_HEAD.INTEGRAL_SAMPLING", "once").roi_heads
    assert not once.label_and_sample_proposals([proposals], [target])[0].has("gt_classifiers")


@pytest.mark.parametrize(
    "name", ["bccd/ablation/multipath_resnet18.yaml", "paper/resnet/faster_rcnn_resnet50_voc07.yaml"]
)
def test_max_pooled_regions_go_with_mixed_precision(name):
    cfg = load_config(name, *SMALL, "MODEL.BACKBONE.NAME", "build_resnet18_backbone", "MODEL.ROI_BOX_HEAD.CONV_DIM", 8)
    assert cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE == "ROIPool"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    model = build_model(cfg)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([example()])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_it_takes_three_maps():
    with pytest.raises(InputError, match=r"takes three, such as \[res3, res4, res5\]"):
        make_multipath("MODEL.ROI_HEADS.IN_FEATURES", ["res4", "res5"])


@pytest.mark.parametrize("kind", ["", "_fpn"])
@torch.no_grad()
def test_localisation_goes_with_any_head(kind):
    cfg = load_config(f"faster_rcnn_resnet18{kind}.yaml", *SMALL, "MODEL.ROI_LOC_HEAD.MODE", "borders")
    cfg.merge_from_list(["MODEL.ROI_LOC_HEAD.CONV_DIM", 16, "TEST.BOX_VOTING_IOU", 0.5])
    model = build_model(cfg).eval()
    assert isinstance(model.roi_heads, RegionHeads)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    images, features, proposals = regions_of(model, example())
    (found,), _ = model.roi_heads(images, features, proposals)
    assert len(found) > 3 and torch.isfinite(found.pred_boxes.tensor).all()
    model.train()
    assert torch.isfinite(model([example()])["loss_loc"])
