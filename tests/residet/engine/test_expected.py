"""TEST.EXPECTED_RESULTS fails a run that did not reach them, as detectron2's regression tests do."""

from backbones.errors import InputError
from detection.config import default_config
from residet.engine.expected import check_expected_results

import pytest


def check(*expected):
    cfg = default_config()
    cfg.TEST.EXPECTED_RESULTS = [list(row) for row in expected]
    check_expected_results(cfg, {"bbox": {"AP": 38.4, "AP50": float("nan")}})


def test_results_within_the_tolerance_pass():
    check()
    check(("bbox", "AP", 38.5, 0.2))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("bbox", "AP", 40.0, 0.5), r"bbox/AP is 38\.4, not 40\.0 within 0\.5"),
        (("bbox", "AP50", 60.0, 100.0), "bbox/AP50 is nan, not 60"),
        (("segm", "AP", 38.5, 0.2), "segm/AP is nan, not 38.5"),
    ],
)
def test_others_are_named(row, message):
    with pytest.raises(InputError, match=f"TEST.EXPECTED_RESULTS: {message}"):
        check(("bbox", "AP", 38.5, 0.2), row)
