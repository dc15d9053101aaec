"""The traceable form of a detector computes what detectron2's model computes, on heads of every kind."""

from backbones.errors import InputError
from backbones.portable.files import open_session, trace
from detection.exporting.detectors import write_detector
from detection.exporting.graph import DetectorGraph, check_exportable
from detection.exporting.parity import check_parity, detections_to_check
from detection.exporting.runtime import RuntimeDetector

import pytest
import torch
from detection_configs import load_config
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from regions import SMALL

FPN, C4 = "faster_rcnn_resnet18_fpn.yaml", "faster_rcnn_resnet18.yaml"


def detector(config, *options):
    return build_model(load_config(config, *SMALL, *options)).eval()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (FPN, []),
        (C4, []),
        ("faster_rcnn_wrn34_2.yaml", []),
        ("faster_rcnn_resnext50_32x4d_fpn.yaml", []),
        (FPN, ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True]),
        (FPN, ["MODEL.ROI_HEADS.IN_FEATURES", ["p3"], "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"]),
        (FPN, ["INPUT.FORMAT", "BGR", "TEST.DETECTIONS_PER_IMAGE", 7]),
        (FPN, ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS", False]),
    ],
)
def test_the_graph_computes_what_the_model_computes(config, options):
    model = detector(config, *options)
    order = dict(zip(options[::2], options[1::2], strict=True)).get("INPUT.FORMAT", "RGB")
    image = torch.randint(256, (3, 100, 131), dtype=torch.uint8)
    with torch.no_grad():
        expected = model([{"image": image}])[0]["instances"]
        rgb = image if order == "RGB" else image.flip(0)
        boxes, scores, classes = DetectorGraph(model, order)(rgb.permute(1, 2, 0))
    assert len(expected) > 5 and len(scores) == len(expected)
    torch.testing.assert_close(boxes, expected.pred_boxes.tensor, rtol=0, atol=1e-3)
    torch.testing.assert_close(scores, expected.scores, rtol=0, atol=1e-6)
    assert torch.equal(classes, expected.pred_classes)


@pytest.mark.slow
def test_a_c4_detector_in_onnx_runtime(tmp_path):
    """Its heads run stage 5 on each region. Those with FPN are test_detectors.py's."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model = detector(C4)
    model.cfg, model.classes = load_config(C4, *SMALL), ("a", "b", "c")  # as `build_detector` leaves them
    write_detector(model, tmp_path / "d.onnx")
    exported = RuntimeDetector(open_session(tmp_path / "d.onnx")[0])
    image = torch.randint(256, (3, 100, 131), dtype=torch.uint8)
    images = [{"image": image, "height": 100, "width": 131}]
    parity = check_parity(detections_to_check(model, images), exported, images, 0.0, 1000)
    assert parity.detections > 5


@pytest.mark.slow
def test_torch_export_with_fewer_than_two_detections():
    model = detector(FPN)
    graph = DetectorGraph(model, "RGB").eval()
    images = [torch.randint(256, (100, 131, 3), dtype=torch.uint8) for _ in range(2)]
    with torch.no_grad():
        first, second = sorted((graph(image)[1][:2].tolist() for image in images), reverse=True)
        # Between the best score of all and the next best: one image has one detection, the other none.
        model.roi_heads.box_predictor.test_score_thresh = (first[0] + max(first[1], second[0])) / 2
        example = torch.zeros(192, 288, 3, dtype=torch.uint8)
        program = trace(graph, example, {0: ("height", 96), 1: ("width", 96)}).module()
        expected, found = ([form(image) for image in images] for form in (graph, program))
    assert sorted(len(scores) for _, scores, _ in expected) == [0, 1]
    for e, f in zip(expected, found, strict=True):
        torch.testing.assert_close(e, f)


@pytest.mark.parametrize(
    ("config", "options", "key"),
    [
        (FPN, ["TEST.BOX_REFINEMENTS", 1, "TEST.BOX_VOTING_IOU", 0.5], "TEST.BOX_REFINEMENTS, TEST.BOX_VOTING_IOU"),
        (FPN, ["MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT", True], "MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT"),
        (C4, ["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"], "MODEL.ROI_BOX_HEAD.POOLER_TYPE"),
        (FPN, ["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "MODEL.META_ARCHITECTURE"),
    ],
)
def test_parts_that_the_graph_lacks_are_refused(config, options, key):
    with pytest.raises(InputError, match=f"{key}.*cannot be exported|{key}: only a Faster R-CNN"):
        check_exportable(detector(config, *options))


def fixed(boxes, scores, classes):
    """A detector that always detects the same."""
    found = Instances((100, 100))
    found.pred_boxes, found.scores = Boxes(torch.tensor(boxes).view(-1, 4)), torch.tensor(scores)
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return lambda batch: [{"instances": found}]


def parity_of(model, other, images, topk=100):
    return check_parity(detections_to_check(model, images), other, images, 0.05, topk)


BOXES, SCORES, CLASSES = [[10.0, 10, 30, 40], [50, 50, 80, 90]], [0.9, 0.6], [0, 1]


def test_parity_measures_the_largest_differences():
    other = fixed([[10.25, 10, 30, 40], [50, 50, 80, 90]], [0.9, 0.6005], CLASSES)
    parity = parity_of(fixed(BOXES, SCORES, CLASSES), other, [{}, {}])
    assert (parity.images, parity.detections) == (2, 4)
    assert parity.pixels == pytest.approx(0.25) and parity.score == pytest.approx(5e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("boxes", "scores", "classes"),
    [
        ([[10.6, 10, 30, 40], [50, 50, 80, 90]], SCORES, CLASSES),  # moved
        (BOXES, [0.9, 0.602], CLASSES),
        (BOXES, SCORES, [0, 2]),
        (BOXES[:1], SCORES[:1], CLASSES[:1]),  # lost
        ([*BOXES, [0.0, 0, 9, 9]], [*SCORES, 0.5], [*CLASSES, 1]),  # new
    ],
)
def test_parity_refuses_other_detections(boxes, scores, classes):
    with pytest.raises(InputError, match=r"street\.png: the exported detector differs from the model"):
        model, other = fixed(BOXES, SCORES, CLASSES), fixed(boxes, scores, classes)
        parity_of(model, other, [{"file_name": "street.png"}])


def test_parity_forgives_what_is_at_the_threshold_or_at_the_limit():
    model = fixed([*BOXES, [0.0, 0, 9, 9]], [*SCORES, 0.0503], [*CLASSES, 1])
    assert parity_of(model, fixed(BOXES, SCORES, CLASSES), [{}]).detections == 3
    other = fixed([BOXES[0], [0.0, 0, 9, 9]], [0.9, 0.6004], CLASSES)
    assert parity_of(fixed(BOXES, SCORES, CLASSES), other, [{}], topk=2).detections == 2


def test_parity_needs_detections():
    with pytest.raises(InputError, match="detects nothing in 1 images"):
        detections_to_check(fixed([], [], []), [{}])
