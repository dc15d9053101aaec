"""The table of results."""

from detection.evaluation.report import reports_eleven_points, summary, table

import pytest

RESULTS = {"bbox": {"AP": 1.0, "AP50": 2.0, "AP75": 3.0, "AP-cat": 1.0}, "voc": {"AP50": 4.0, "AP50-07metric": 5.0}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("voc_2007_test", True),
        ("/data/VOC2007:test", True),
        ("VOC2007:val", True),
        ("voc_2012_trainval", False),
        ("/data/MYVOC2007:test", False),
        ("coco_2014_minival", False),
    ],
)
def test_voc_2007_is_reported_by_its_own_metric(name, expected):
    """VOC 2007's devkit computes the 11-point AP, which ResNet's Table 7 gives as mAP."""
    row = summary(RESULTS, ("cat",), eleven_points=reports_eleven_points(name))
    assert ("VOC07 AP50" in row) is expected
    assert list(row) == ["VOC07 AP50"] * expected + ["AP", "AP50", "AP75", "VOC AP50", "AP cat"]
    assert not expected or (row["VOC07 AP50"] == 5.0 and table({name: row}).split()[1] == "|")


def test_imagenet_det_is_reported_beside_voc():
    row = summary({"det": {"AP50": 6.0}, "voc": {"AP50": 4.0, "AP50-cat": 4.0}}, ("cat",))
    assert row == {"DET AP50": 6.0, "VOC AP50": 4.0, "VOC AP50 cat": 4.0}
