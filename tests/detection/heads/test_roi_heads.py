"""What happens on regions: against detectron2's own heads, and each of ResNet's improvements against its definition."""

import copy
import functools

from backbones.errors import InputError
from detection.heads.postprocess import Candidates, select, vote
from detection.heads.region_heads import best_boxes
from detection.inference.modes import as_tested
from detection.inference.region_scales import RegionScales, best_scales
from detection.inference.tiles import TiledDetector, tiles
from detection.schema.keys import check_keys

import pytest
import torch
from detection_configs import load_config
from detectron2.data import transforms as T
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from detectron2.modeling.roi_heads import Res5ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from regions import SMALL, example, regions_of
from torch import nn


def make(kind, *opts):
    cfg = load_config(f"faster_rcnn_resnet18{kind}.yaml", *SMALL, *opts)
    torch.manual_seed(0)
    model = build_model(cfg)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)  # scores that differ
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.1)
    return cfg, model.eval()


@pytest.mark.parametrize(("kind", "stock"), [("", Res5ROIHeads), ("_fpn", StandardROIHeads)])
@torch.no_grad()
def test_without_options_they_are_detectron2s(kind, stock):
    _, model = make(kind)
    entry, heads = example(), model.roi_heads
    images, features, proposals = regions_of(model, entry)
    (ours,), _ = heads(images, features, copy.deepcopy(proposals))
    (theirs,), _ = stock.forward(heads, images, features, copy.deepcopy(proposals))
    assert len(ours) >= 5
    for name in ("scores", "pred_classes"):
        assert torch.equal(ours.get(name), theirs.get(name))
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    model.train()
    losses = []
    for forward in (type(heads).forward, stock.forward):
        torch.manual_seed(5)
        losses.append(forward(heads, images, features, copy.deepcopy(proposals), [entry["instances"]])[1])
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.allclose(losses[0][k], losses[1][k]) for k in losses[0])


@pytest.mark.parametrize(("kind", "pooling"), [("", "ROIAlignV2"), ("_fpn", "ROIAlignV2"), ("_fpn", "ROIPool")])
def test_mixed_precision_does_not_move_regions(kind, pooling):
    """In bfloat16, corners near 1200 px have steps of 8 px: the boxes must keep their own precision."""
    _, model = make(kind, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", pooling)
    pooler = model.roi_heads.pooler if kind == "" else model.roi_heads.box_pooler
    strides = [round(1 / p.spatial_scale) for p in pooler.level_poolers]
    maps = [torch.randn(1, 2, 1216 // stride, 1216 // stride).bfloat16() for stride in strides]
    boxes = [Boxes(torch.tensor([[1101.0, 1098.0, 1123.0, 1117.0], [701.0, 1003.0, 1193.0, 1190.0]]))]
    pooled = pooler(maps, boxes)
    assert pooled.abs().sum() > 0
    assert torch.equal(pooled, pooler([m.float() for m in maps], boxes))


@pytest.mark.parametrize("agnostic", [False, True])
def test_selection_is_fast_rcnns(agnostic):
    boxes = torch.rand(40, 1 if agnostic else 3, 4) * 60
    boxes[..., 2:] += boxes[..., :2]
    scores = torch.randn(40, 4).softmax(dim=1)
    boxes[3, 0, 0], scores[5, 1] = float("nan"), float("inf")
    size = (70, 90)
    (theirs,), _ = fast_rcnn_inference([boxes.flatten(1)], [scores], [size], 0.2, 0.4, 12)
    ours = select(Candidates.of_regions(boxes.flatten(1), scores, size, 0.2), size, 0.4, 12)
    assert len(ours) == 12 and torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    assert torch.equal(ours.scores, theirs.scores) and torch.equal(ours.pred_classes, theirs.pred_classes)


def test_voting_is_the_mean_weighted_by_scores():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40], [5, 5, 5, 5]])
    found = Candidates(boxes, torch.tensor([0.6, 0.2, 0.9, 0.5, 0.1]), torch.tensor([0, 0, 1, 0, 0]))
    moved = vote(found, found, 0.5)
    assert torch.allclose(moved[0], torch.tensor([0.25, 0, 10.25, 10]))  # (0.6 * 0 + 0.2 * 1) / 0.8
    assert torch.equal(moved[2], boxes[2])  # another class has no vote
    assert torch.equal(moved[3], boxes[3]) and torch.equal(moved[4], boxes[4])
    kept = select(found, (50, 50), 0.5, 10, voting=0.5)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.6, 0.5, 0.1])  # scores stay


@torch.no_grad()
def test_refinement_joins_the_new_predictions_with_the_first():
    _, model = make("", "TEST.BOX_REFINEMENTS", 1, "MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.3, "TEST.BOX_VOTING_IOU", 0.5)
    heads = model.roi_heads
    images, features, proposals = regions_of(model, example())
    (found,), _ = heads(images, features, proposals)

    size, predictor = images.image_sizes[0], heads.box_predictor
    boxes, both = proposals[0].proposal_boxes, []
    for _ in range(2):
        predictions = predictor(heads.box_features(features, [boxes]))
        regions = [Instances(size, proposal_boxes=boxes)]
        (moved,), (scores,) = (f(predictions, regions) for f in (predictor.predict_boxes, predictor.predict_probs))
        both.append(Candidates.of_regions(moved, scores, size, 0.0))
        best = scores[:, :-1].argmax(dim=1)
        boxes = Boxes(torch.stack([moved[i, 4 * k : 4 * k + 4] for i, k in enumerate(best)]))
    expected = select(Candidates.cat(both), size, 0.3, 100, 0.5)
    assert torch.allclose(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-4)
    assert len(found) > 3 and torch.allclose(found.scores, expected.scores)


def test_of_a_class_agnostic_regression_there_is_one_box():
    boxes = torch.rand(5, 4)
    assert torch.equal(best_boxes(boxes, torch.rand(5, 4)).tensor, boxes)


@pytest.mark.parametrize("kind", ["", "_fpn"])
def test_global_context_stands_beside_every_region(kind):
    _, model = make(kind, "MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT", True)
    heads = model.roi_heads
    features = model.backbone(torch.randn(2, 3, 96, 96))
    sizes = [(96, 96), (64, 80)]
    boxes = [Boxes(torch.tensor([[3.0, 3, 50, 50], [20, 20, 60, 60]])), Boxes(torch.tensor([[5.0, 5, 40, 60]]))]
    x = heads.region_features(features, boxes, sizes)
    own, context = x.chunk(2, dim=1)
    whole = heads.box_features(features, [Boxes(torch.tensor([[0.0, 0, w, h]])) for h, w in sizes])
    assert torch.allclose(own, heads.box_features(features, boxes))
    assert torch.allclose(context, whole[[0, 0, 1]]) and not torch.allclose(whole[0], whole[1])
    model.train()
    losses = model([example()])
    sum(losses.values()).backward()
    half = heads.box_predictor.cls_score.in_features // 2
    assert heads.box_predictor.cls_score.weight.grad[:, half:].abs().sum() > 0


# Ways of testing


def test_scales_bring_a_region_close_to_224_pixels():
    factors = torch.tensor([0.5, 1.0, 2.0, 4.0])
    boxes = Boxes(torch.tensor([[0.0, 0, 224, 224], [0, 0, 30, 30], [0, 0, 500, 500], [0, 0, 130, 130]]))
    first, second = best_scales(boxes, factors)
    assert first.tolist() == [1, 3, 0, 2] and second.tolist() == [0, 2, 1, 1]


@torch.no_grad()
def test_regions_take_the_maximum_over_two_scales():
    cfg, model = make("", "TEST.REGION_SCALES", (64, 128), "INPUT.MIN_SIZE_TEST", 96)
    entry = example()
    tested = as_tested(cfg, model)
    assert isinstance(tested, RegionScales)
    (found,) = tested([entry])

    maps, heads = [], model.roi_heads
    for side in (64, 128):
        image = entry["image"].permute(1, 2, 0).numpy()
        pixels = T.ResizeShortestEdge(side, 1333).get_transform(image).apply_image(image)
        level = model.preprocess_image([{"image": torch.tensor(pixels).permute(2, 0, 1)}])
        maps.append((model.backbone(level.tensor), side / 96))
    _, _, proposals = regions_of(model, entry)

    def pool(boxes):
        parts = []
        for features, factor in maps:
            scaled = boxes[0].clone()
            scaled.scale(factor, factor)
            parts.append(heads.box_features(features, [scaled]))
        return torch.maximum(*parts)

    (expected,) = heads.detect(
        proposals, functools.partial(heads.predict, sizes=[proposals[0].image_size], pool=pool), None
    )
    assert torch.allclose(found["instances"].pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-3)
    assert len(expected) > 3 and torch.allclose(found["instances"].scores, expected.scores, atol=1e-5)


def test_tiles_cover_the_image():
    found = list(tiles(100, 50, 40, 0.25))
    assert found[0] == (0, 0, 40, 40) and found[-1] == (60, 10, 100, 50)
    assert {x0 for x0, *_ in found} == {0, 30, 60} and {y0 for _, y0, *_ in found} == {0, 10}
    assert list(tiles(30, 20, 40, 0.2)) == [(0, 0, 30, 20)]


class Squares(nn.Module):
    """Finds the bright rectangle of an image, surer the more of the image it is; and, at the edge, half ones."""

    def forward(self, batch):
        (entry,) = batch
        rows, columns = torch.nonzero(entry["image"][0] > 127, as_tuple=True)
        found = Instances((entry["height"], entry["width"]))
        if not len(rows):
            found.pred_boxes, found.scores = Boxes(torch.zeros(0, 4)), torch.zeros(0)
        else:
            box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
            box *= entry["width"] / entry["image"].shape[2]
            found.pred_boxes, found.scores = Boxes(box[None]), torch.tensor([len(rows) / entry["image"][0].numel()])
        found.pred_classes = torch.zeros(len(found.scores), dtype=torch.int64)
        return [{"instances": found}]


def test_tiled_detections_are_in_the_images_pixels_and_joined():
    image = torch.zeros(3, 100, 160, dtype=torch.uint8)
    image[:, 45:55, 100:120] = 255
    detector = TiledDetector(Squares(), 80, 0.5, T.ResizeShortestEdge(160, 400), 0.5)
    (found,) = detector([{"image": image}])
    assert torch.allclose(found["instances"].pred_boxes.tensor[0], torch.tensor([100.0, 45, 120, 55]), atol=1)
    assert len(found["instances"]) == 1 and found["instances"].image_size == (100, 160)


def test_pieces_of_what_tiles_cut_are_left_out():
    image = torch.zeros(3, 160, 240, dtype=torch.uint8)
    image[:, 40:100, 60:160] = 255  # larger than what two tiles share
    detector = TiledDetector(Squares(), 80, 0.2, T.ResizeShortestEdge(160, 400), 0.5)
    (found,) = detector([{"image": image}])
    assert torch.allclose(found["instances"].pred_boxes.tensor, torch.tensor([[60.0, 40, 160, 100]]), atol=1)
    image[:, :, 60:] = 255  # up to the image's own edge, where nothing is cut
    (found,) = detector([{"image": image}])
    assert torch.allclose(found["instances"].pred_boxes.tensor[0], torch.tensor([60.0, 0, 240, 160]), atol=1)


@torch.no_grad()
def test_augmented_and_tiled_testing_of_a_real_model():
    entry = example()
    for opts, kind in (
        (["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64, 96)], GeneralizedRCNNWithTTA),
        (["TEST.TILES.SIZE", 64], TiledDetector),
    ):
        cfg, model = make("_fpn", *opts, "INPUT.MIN_SIZE_TEST", 96)
        tested = as_tested(cfg, model)
        assert isinstance(tested, kind)
        assert len(tested([entry])[0]["instances"]) > 3


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["TEST.AUG.ENABLED", True, "TEST.TILES.SIZE", 64], "only one of them"),
        (["TEST.TILES.OVERLAP", 1.0], "TEST.TILES.OVERLAP: 1.0 is not a finite number, 0 or more and below 1"),
        (["TEST.REGION_SCALES", (200,)], "two short sides or more"),
        (["TEST.REGION_SCALES", (200, 400), "MODEL.LOAD_PROPOSALS", True], "an RPN of its own"),
        (["TEST.AUG.ENABLED", True, "MODEL.META_ARCHITECTURE", "RetinaNet"], "is for a GeneralizedRCNN"),
        (["TEST.BOX_REFINEMENTS", 1, "MODEL.ROI_LOC_HEAD.MODE", "in_out"], "is for box regression"),
    ],
)
def test_ways_of_testing_that_do_not_go_together(opts, message):
    with pytest.raises(InputError, match=message):
        check_keys(load_config("faster_rcnn_resnet18.yaml", *opts))
