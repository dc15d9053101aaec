"""Every key of both tables, with values that it must not have: one InputError that names the key, and nothing else."""

from backbones.errors import InputError
from classification.config import default_config as classification_config
from classification.schema.keys import check_keys as check_classification
from classification.schema.table import TABLE as CLASSIFICATION
from detection.config import default_config as detection_config
from detection.schema.keys import UNUSED
from detection.schema.keys import check_keys as check_detection
from detection.schema.table import TABLE as DETECTION
from residet.config import merge_config, merge_values
from residet.schema.kinds import leaves

import pytest
from bad_values import bad_values
from run_tools import PROJECT

CONFIGS = PROJECT / "configs"
SIDES = {
    "classification": (classification_config, check_classification, CONFIGS / "classification" / "imagenet.yaml"),
    "detection": (detection_config, check_detection, CONFIGS / "faster_rcnn_resnet18_fpn.yaml"),
}
KEYS = [("classification", key) for key in CLASSIFICATION] + [("detection", key) for key in DETECTION]


def test_every_key_of_detection_has_a_row_or_is_refused():
    unused = tuple(f"{key}." for key in UNUSED)
    keys = leaves(detection_config())
    assert [key for key in keys if key not in DETECTION and not f"{key}.".startswith(unused)] == []


@pytest.fixture(scope="module")
def started():
    """The config of each side, with a file of configs/ in it."""
    configs = {}
    for side, (make, _, file) in SIDES.items():
        configs[side] = make()
        merge_config(configs[side], str(file), ["MODEL.DEVICE", "cpu"])
    return configs


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize(("side", "key"), KEYS)
def test_a_bad_value_is_refused_with_its_key(started, side, key):
    kind = {"classification": CLASSIFICATION, "detection": DETECTION}[side][key].kind
    values = bad_values(kind)
    assert len(values) >= 5
    for value in values:
        cfg = started[side].clone()
        with pytest.raises(InputError) as caught:
            merge_values(cfg, nested(key, value), "config.yaml")
            SIDES[side][1](cfg)
        message = str(caught.value)
        assert key.rpartition(".")[0] in message and len(message) < 2000, (value, message)
        assert message.isprintable(), message


@pytest.mark.parametrize("side", SIDES)
def test_the_configs_of_the_test_are_good(started, side):
    SIDES[side][1](started[side])


@pytest.mark.parametrize(
    ("side", "opts", "words"),
    [
        ("classification", ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosinLR"], "did you mean WarmupCosineLR?"),
        (
            "classification",
            ["SOLVER.NESTEROV", "True", "SOLVER.MOMENTUM", "0"],
            "NESTEROV: True needs a SOLVER.MOMENTUM",
        ),
        ("classification", ["CLASSIFICATION.CROP", "reflect", "CLASSIFICATION.PAD", "300"], "PAD: 300"),
        ("classification", ["CLASSIFICATION.SIZE", "300", "CLASSIFICATION.RESIZE", "256"], "RESIZE: 256"),
        (
            "classification",
            ["CLASSIFICATION.CROP", "short_side", "CLASSIFICATION.SHORT_SIDE", "(99, 300)"],
            "SHORT_SIDE: 99",
        ),
        ("detection", ["MODEL.FPN.IN_FEATURES", "[res9]"], "FPN.IN_FEATURES: ['res9'] must be names of"),
        ("detection", ["MODEL.FPN.IN_FEATURES", "['res2', 'res4']"], "twice the stride"),
        ("detection", ["MODEL.RPN.IN_FEATURES", "['p9']"], "RPN.IN_FEATURES: ['p9'] must be names of"),
        ("detection", ["MODEL.ANCHOR_GENERATOR.SIZES", "[[32], [64]]"], "2 lists for the 5 maps"),
        ("detection", ["MODEL.RPN.IOU_LABELS", "[0, 1]"], "one more than IOU_THRESHOLDS"),
        ("detection", ["MODEL.MASK_ON", "True"], "MODEL.MASK_ON: True would have no effect here"),
        ("detection", ["INPUT.CROP.SIZE", "[2.0, 0.5]"], "no shares of the image"),
        ("detection", ["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", "100"], "GN has 32 groups"),
        ("detection", ["MODEL.ROI_BOX_HEAD.NUM_FC", "0"], "needs NUM_FC or NUM_CONV"),
        ("detection", ["MODEL.ROI_HEADS.NAME", "ArchRes5ROIHeads"], "must be [res4]"),
    ],
)
def test_keys_that_contradict_each_other_are_named(started, side, opts, words):
    cfg = started[side].clone()
    with pytest.raises(InputError) as caught:
        merge_config(cfg, "", opts)
        SIDES[side][1](cfg)
    assert words in str(caught.value)


def test_a_whole_number_stands_for_a_real_one_and_text_stays_text(started):
    cfg = started["classification"].clone()
    merge_config(cfg, "", ["SOLVER.BASE_LR", "1", "OUTPUT_DIR", "2024", "CLASSIFICATION.TEST.VIEWS", "10crop"])
    assert cfg.SOLVER.BASE_LR == 1.0 and isinstance(cfg.SOLVER.BASE_LR, float)
    assert cfg.OUTPUT_DIR == "2024" and cfg.CLASSIFICATION.TEST.VIEWS == "10crop"
    check_classification(cfg)
