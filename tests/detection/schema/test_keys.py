"""Every key of the config does something in a run of train_net.py, or is refused with the way to do it here."""

from backbones.errors import InputError
from detection.config import default_config, from_scratch
from detection.data.mapper import DetectionMapper
from detection.phases import phase_config
from detection.schema.keys import OVERWRITTEN, UNUSED, check_keys

import numpy as np
import pytest
import torch
from detection_configs import LEAVES, load_config
from detectron2.config import CfgNode
from PIL import Image

C4, FPN = "faster_rcnn_resnet18.yaml", "faster_rcnn_resnet18_fpn.yaml"


@pytest.mark.parametrize("name", LEAVES)
def test_no_config_sets_a_key_that_is_not_read(name):
    cfg = load_config(name)
    check_keys(cfg)
    for phase in cfg.PHASES:
        check_keys(phase_config(cfg, phase), phase.get("options", [])[::2])


def another(value):
    """A value of the same type that is not the given one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return type(value)([*value, 1])


def leaves(node, prefix):
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}") if isinstance(value, CfgNode) else [(f"{prefix}.{key}", value)]


@pytest.mark.parametrize("name", UNUSED)
def test_a_key_that_is_never_read_is_refused(name):
    cfg = load_config(FPN)
    node = cfg
    for part in name.split("."):
        node = node[part]
    for key, value in leaves(node, name) if isinstance(node, CfgNode) else [(name, node)]:
        with pytest.raises(InputError, match=rf"^{key}: .* would have no effect here; "):
            changed = cfg.clone()
            parent, _, last = key.rpartition(".")
            target = changed
            for part in parent.split(".") if parent else ():
                target = target[part]
            target[last] = another(value)
            check_keys(changed)


@pytest.mark.parametrize(
    ("config", "opts", "message"),
    [
        (FPN, ["MODEL.META_ARCHITECTURE", "PanopticFPN"], "MODEL.META_ARCHITECTURE: 'PanopticFPN' is none of"),
        (C4, ["MODEL.FPN.NORM", "GN"], "MODEL.FPN.NORM: 'GN' would have no effect here; .*build_ARCH_fpn_backbone"),
        (FPN, ["DATALOADER.REPEAT_THRESHOLD", 0.3], "REPEAT_THRESHOLD: 0.3 .*RepeatFactorTrainingSampler"),
        (
            FPN,
            ["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "TEST.BOX_REFINEMENTS", 1],
            "BOX_REFINEMENTS: 1 .*Pooled",
        ),
        (FPN, ["MODEL.ROI_BOX_HEAD.INTEGRAL_IOUS", (0.5,)], "INTEGRAL_IOUS: .*MultiPathROIHeads"),
        (C4, ["MODEL.ROI_HEADS.NAME", "Res5ROIHeads"], "use ArchRes5ROIHeads"),
        (
            FPN,
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR"],
            "is none of WarmupMultiStepLR",
        ),
        (FPN, ["SOLVER.BASE_LR_END", 0.1], "SOLVER.BASE_LR_END: WarmupMultiStepLR does not read it"),
        (FPN, ["MODEL.LOAD_PROPOSALS", True], "set MODEL.PROPOSAL_GENERATOR.NAME PrecomputedProposals too"),
        (FPN, ["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "needs MODEL.LOAD_PROPOSALS True"),
        (FPN, ["DATASETS.PROPOSAL_FILES_TEST", ("a.pth",)], "are read only with MODEL.LOAD_PROPOSALS True"),
        (FPN, ["DATALOADER.SAMPLER_TRAIN", "Random"], "is none of TrainingSampler, Repeat"),
        (FPN, ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"], "REPEAT_THRESHOLD: the share"),
        (
            FPN,
            ["MODEL.LOAD_PROPOSALS", True, "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"],
            "PROPOSAL_FILES_TRAIN: 0 files for 1 data sets",
        ),
        (FPN, ["TEST.PATIENCE", 3, "TEST.BEST_METRIC", "bbox/AP"], "TEST.PATIENCE: .*set TEST.EVAL_PERIOD"),
        (FPN, ["INPUT.CROP.TYPE", "half"], "INPUT.CROP.TYPE: 'half' is none of relative_range"),
        ("faster_rcnn_vgg16.yaml", ["MODEL.RESNETS.NORM", "GN"], "build_vgg16_backbone has no norms"),
    ],
)
def test_a_key_that_this_run_would_not_read_is_refused(config, opts, message):
    with pytest.raises(InputError, match=message):
        check_keys(load_config(config, *opts))


@pytest.mark.parametrize("key", OVERWRITTEN)
def test_a_key_that_the_run_fills_in_is_refused(key):
    check_keys(load_config(FPN, key, 7))  # the config that a run has left
    with pytest.raises(InputError, match=f"{key}: would be overwritten; the number of classes comes from the data"):
        check_keys(load_config(FPN, key, 7), [key])


def test_from_scratch_sets_only_what_is_read():
    for name in (C4, FPN):
        cfg = load_config(name)
        from_scratch(cfg)
        check_keys(cfg)


def test_input_crop_crops_as_detectron2_does(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "width": 80, "height": 60}
    record["annotations"] = [{"bbox": [0, 0, 80, 60], "bbox_mode": 0, "category_id": 0, "iscrowd": 0}]
    cfg = default_config()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (30,), "none"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", (30, 20)
    example = DetectionMapper(cfg, True)(record)
    assert example["image"].shape == (3, 45, 30)  # 30 x 20 pixels, resized to a short side of 30
    assert example["instances"].gt_boxes.tensor.tolist() == [[0, 0, 30, 45]]
    cfg.INPUT.MIN_SIZE_TEST = 30
    assert DetectionMapper(cfg, False)(record)["image"].shape == (3, 30, 40)
    assert isinstance(example["image"], torch.Tensor)
