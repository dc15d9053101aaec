"""Every detection config: it loads, says what its recipe says, and its model takes a training step and infers."""

from backbones.registry import spec_of_builder
from backbones.vgg import VGGSpec
from detection.phases import check_phases, phase_config
from detection.schema.keys import check_keys
from detection.trainer import DetectionTrainer

import pytest
import torch
from detection_configs import FOLDER, LEAVES, load_config
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

NETWORKS = ("resnet50", "resnet101", "wrn34_2", "wrn50_2_bottleneck", "resnext50_32x4d", "resnext101_32x4d")


RESNET101_COCO = ("refined", "context", "multiscale_val", "trainval", "multiscale")


def test_each_network_has_its_three_families():
    expected = {f"faster_rcnn_{n}{k}{s}" for n in NETWORKS for k in ("", "_fpn") for s in ("", "_3x")}
    expected |= {"faster_rcnn_vgg16", "faster_rcnn_vgg16_3x", "faster_rcnn_resnet18", "faster_rcnn_resnet18_fpn"}
    expected |= {f"faster_rcnn_resnet50_fpn_scratch_{norm}" for norm in ("gn", "syncbn")}
    expected |= {f"voc/faster_rcnn_{n}{k}_voc{y}" for n in NETWORKS for k in ("", "_fpn") for y in ("07", "12")}
    expected |= {f"voc/faster_rcnn_vgg16_voc{y}" for y in ("07", "12")}
    expected |= {f"paper/resnet/faster_rcnn_{n}_voc{y}" for n in (*NETWORKS, "vgg16") for y in ("07", "12")}
    expected |= {f"paper/resnet/faster_rcnn_{n}_coco" for n in ("vgg16", "resnet101")}
    expected |= {f"paper/resnet/faster_rcnn_resnet101_coco_{k}" for k in RESNET101_COCO}
    starred = ("voc07_plus", "voc12_plus", "imagenet_det")
    expected |= {f"paper/resnet/faster_rcnn_resnet101_{k}{s}" for k in starred for s in ("", "_multiscale")}
    expected |= {f"paper/resnext/faster_rcnn_{n}_coco" for n in (*NETWORKS, "vgg16")}
    expected |= {f"bccd/{n}_{k}" for n in NETWORKS for k in ("c4", "fpn")} | {"bccd/resnet18_fpn"}
    expected |= {f"bccd/ablation/{k}_resnet18" for k in ("baseline", "context", "locnet", "multipath")}
    expected |= {f"bccd/freezing/{k}_resnet18" for k in ("learning", "papers", "gn", "frozen_norms", "frozen_stages")}
    expected |= {"bccd/ablation/multipath_one_iou_resnet18", "paper/wrn/multipathnet_wrn34_2_coco"}
    expected |= {f"paper/wrn/multipathnet_wrn34_2_attractionet{k}" for k in ("", "_minival")}
    expected |= {"demo/faster_rcnn_resnet18_fpn"}
    assert {name.removesuffix(".yaml") for name in LEAVES} == expected


def test_the_readme_names_every_folder_and_recipe():
    text = (FOLDER / "README.md").read_text()
    for name in ("paper/resnet/", "paper/resnext/", "paper/wrn/", "voc/", "bccd/", "demo/"):
        assert f"`{name}" in text, name
    for path in (FOLDER / "recipes").glob("*.yaml"):
        assert f"recipes/{path.name}" in text, path


@pytest.fixture(scope="module")
def folders():
    """OUTPUT_DIR of each config but the demo's."""
    return [load_config(name).OUTPUT_DIR for name in LEAVES if not name.startswith("demo")]


@pytest.mark.parametrize("name", LEAVES)
def test_it_loads_and_writes_to_a_folder_of_its_own(name, folders):
    cfg = load_config(name)
    spec_of_builder(cfg.MODEL.BACKBONE.NAME)
    check_phases(cfg)
    check_keys(cfg)
    assert name.startswith("demo") or folders.count(cfg.OUTPUT_DIR) == 1
    assert max(cfg.SOLVER.STEPS) < cfg.SOLVER.MAX_ITER or cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"


RPN, FAST = "ProposalNetwork", "GeneralizedRCNN"
COCO14 = ("coco_2014_train", "coco_2014_valminusminival")
# Config: training data, test data, and for each stage (or the one run) the kind of network, images, learning rate,
# steps, iterations.
RECIPES = {
    "faster_rcnn_wrn34_2.yaml": (("coco_2017_train",), "coco_2017_val", [(FAST, 16, 0.02, (60000, 80000), 90000)]),
    "faster_rcnn_wrn34_2_fpn_3x.yaml": (
        ("coco_2017_train",),
        "coco_2017_val",
        [(FAST, 16, 0.02, (210000, 250000), 270000)],
    ),
    "voc/faster_rcnn_resnet50_voc07.yaml": (
        ("voc_2007_trainval", "voc_2012_trainval"),
        "voc_2007_test",
        [(FAST, 16, 0.02, (12000, 16000), 18000)],
    ),
    "voc/faster_rcnn_resnet50_fpn_voc12.yaml": (
        ("voc_2007_trainval", "voc_2007_test", "voc_2012_trainval"),
        "voc_2012_test",
        [(FAST, 16, 0.02, (12000, 16000), 18000)],
    ),
    "paper/resnext/faster_rcnn_resnext101_32x4d_coco.yaml": (
        COCO14,
        "coco_2014_minival",
        [(RPN, 16, 0.02, (120000,), 180000), (FAST, 8, 0.005, (120000,), 180000)],
    ),
    "paper/resnet/faster_rcnn_resnet101_coco.yaml": (
        ("coco_2014_train",),
        "coco_2014_val",
        [(RPN, 8, 0.001, (240000,), 320000), (FAST, 16, 0.001, (240000,), 320000)] * 2,
    ),
    # ResNet, appendix B: "We fine-tune the detection models using the DET training set and the val1 set. The val2 set
    # is used for validation"; the rest is as on COCO.
    "paper/resnet/faster_rcnn_resnet101_imagenet_det.yaml": (
        ("imagenet_det_train", "imagenet_det_val1"),
        "imagenet_det_val2",
        [(RPN, 8, 0.001, (240000,), 320000), (FAST, 16, 0.001, (240000,), 320000)] * 2,
    ),
    "paper/resnet/faster_rcnn_vgg16_voc07.yaml": (
        ("voc_2007_trainval", "voc_2012_trainval"),
        "voc_2007_test",
        # py-faster-rcnn, train_faster_rcnn_alt_opt.py: max_iters = [80000, 40000, 80000, 40000], with the solvers
        # rpn_solver60k80k.pt (stepsize 60000) and fast_rcnn_solver30k40k.pt (stepsize 30000).
        [(RPN, 1, 0.001, (60000,), 80000), (FAST, 2, 0.001, (30000,), 40000)] * 2,
    ),
    "paper/wrn/multipathnet_wrn34_2_coco.yaml": (
        COCO14,
        "coco_2014_minival",
        [(FAST, 4, 0.001, (280000,), 320000)],
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_schedules_are_the_papers(name):
    train, test, runs = RECIPES[name]
    cfg = load_config(name)
    assert train == cfg.DATASETS.TRAIN and (test,) == cfg.DATASETS.TEST
    stages = [phase_config(cfg, stage) for stage in cfg.PHASES] or [cfg]
    found = [
        (c.MODEL.META_ARCHITECTURE, c.SOLVER.IMS_PER_BATCH, c.SOLVER.BASE_LR, c.SOLVER.STEPS, c.SOLVER.MAX_ITER)
        for c in stages
    ]
    assert found == runs


# What the papers leave to py-faster-rcnn.
PY_FASTER_RCNN = {
    "INPUT.MIN_SIZE_TRAIN": (600,),
    "INPUT.MAX_SIZE_TRAIN": 1000,
    "INPUT.MIN_SIZE_TEST": 600,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 16,
    "MODEL.RPN.BOUNDARY_THRESH": 0,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 300,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": 300,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.3,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIPool",
    "SOLVER.BIAS_LR_FACTOR": 2.0,  # lr_mult: 2 of every bias
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.WARMUP_ITERS": 0,
}
VOC_ANCHORS, COCO_ANCHORS = [[128, 256, 512]], [[64, 128, 256, 512]]


@pytest.mark.parametrize(
    ("name", "anchors", "images", "difficult", "decay"),
    [
        ("resnet/faster_rcnn_resnet101_coco", COCO_ANCHORS, 82081, True, 0.0005),
        ("resnet/faster_rcnn_vgg16_voc07", VOC_ANCHORS, 16551, False, 0.0005),
        ("resnet/faster_rcnn_resnet101_voc12", VOC_ANCHORS, 21503, False, 0.0005),
        # ResNeXt, appendix B: "a weight decay of 0.0001 and a momentum of 0.9"
        ("resnext/faster_rcnn_resnext50_32x4d_coco", COCO_ANCHORS, 117266, True, 0.0001),
    ],
)
def test_what_papers_leave_open_is_py_faster_rcnns(name, anchors, images, difficult, decay):
    cfg = load_config(f"paper/{name}.yaml")
    for key, value in PY_FASTER_RCNN.items():
        found = cfg
        for part in key.split("."):
            found = found[part]
        assert found == value, key
    assert decay == cfg.SOLVER.WEIGHT_DECAY and anchors == cfg.MODEL.ANCHOR_GENERATOR.SIZES
    assert images == cfg.DATASETS.SCHEDULE_IMAGES and difficult == cfg.DATASETS.TRAIN_ON_DIFFICULT


def test_biases_learn_at_twice_the_rate():
    cfg = load_config("paper/resnext/faster_rcnn_resnet50_coco.yaml")
    layer = nn.Sequential(nn.Conv2d(3, 4, 1))
    groups = DetectionTrainer.build_optimizer(cfg, layer).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(layer[0].bias)] == 2 * rates[id(layer[0].weight)] == 2 * cfg.SOLVER.BASE_LR


@pytest.mark.parametrize("path", sorted((FOLDER / "paper" / "resnet").glob("faster_rcnn_resnet*.yaml")))
def test_resnets_own_figures_are_of_its_own_networks(path):
    """Table 1 gives ResNet-101 7.6e9 FLOPs, as the variant with the stride in the first 1x1 has."""
    assert spec_of_builder(load_config(path).MODEL.BACKBONE.NAME).stride_in_first


def test_multipathnets_settings_are_its_codes():
    cfg = load_config("paper/wrn/multipathnet_wrn34_2_attractionet.yaml")
    heads, box = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
    assert (box.POOLER_TYPE, box.POOLER_RESOLUTION, box.CONV_DIM, box.FC_DIM) == ("ROIPool", 7, 512, 4096)
    assert (heads.BATCH_SIZE_PER_IMAGE, heads.IOU_THRESHOLDS, heads.IOU_LABELS) == (64, [0.1, 0.5], [-1, 0, 1])
    # Tester_FRCNN.lua: thresh = ones * -1.5, on probabilities: every candidate is kept.
    assert heads.SCORE_THRESH_TEST == -1.5 and heads.POSITIVE_FRACTION == 0.25
    assert (box.INTEGRAL_SAMPLING, box.INTEGRAL_IOUS) == ("each", (0.5, 0.55, 0.6, 0.65, 0.7, 0.75))
    assert cfg.SOLVER.BIAS_LR_FACTOR == 1.0 and cfg.SOLVER.WEIGHT_DECAY == 0.0  # train_multipathnet_coco.sh
    assert cfg.MODEL.LOAD_PROPOSALS and cfg.DATASETS.TEST == ("coco_2017_test-dev",)
    assert len(cfg.DATASETS.PROPOSAL_FILES_TRAIN) == len(cfg.DATASETS.TRAIN) == 2


@pytest.mark.parametrize("name", ["coco_trainval", "voc07_plus", "voc12_plus", "imagenet_det"])
def test_improvements_are_the_appendixs(name):
    """ResNet, appendix B: "we pool a new feature from the regressed box"; "NMS is applied on the union set of predicted
    boxes using an IoU threshold of 0.3, followed by box voting"; "This global feature is concatenated with the original
    per-region feature". On VOC: "With the single model on the COCO dataset, we fine-tune this model on the PASCAL VOC
    sets. The improvements of box refinement, context, and multi-scale testing are also adopted." On ImageNet DET: "the
    same as that for MS COCO in Table 9". The IoU of box voting, 0.5, is that of the method's authors (Gidaris 2015).
    """
    cfg = load_config(f"paper/resnet/faster_rcnn_resnet101_{name}.yaml")
    assert cfg.TEST.BOX_REFINEMENTS == 1 and cfg.TEST.BOX_VOTING_IOU == 0.5 and cfg.MODEL.ROI_BOX_HEAD.GLOBAL_CONTEXT
    assert cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST == 0.3
    assert cfg.MODEL.WEIGHTS.endswith("coco_trainval/model_final.pth") == ("voc" in name)
    assert (cfg.TEST.EVALUATORS[0] == "imagenet_det") == (name == "imagenet_det")


def test_the_offline_twin_of_test_dev_is_minival():
    """The authors' README: 36 AP on val5k, with the proposals of AttractioNet."""
    cfg, online = (load_config(f"paper/wrn/multipathnet_wrn34_2_attractionet{k}.yaml") for k in ("_minival", ""))
    assert cfg.DATASETS.TEST == ("coco_2014_minival",) and online.DATASETS.TRAIN == cfg.DATASETS.TRAIN
    assert cfg.DATASETS.PROPOSAL_FILES_TEST == ("proposals/coco_2014_minival",)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("coco_multiscale_val", "coco_2014_val"),
        ("coco_multiscale", "coco_2017_test-dev"),
        ("coco_trainval", "coco_2017_test-dev"),
        ("voc07_plus_multiscale", "voc_2007_test"),
        ("voc12_plus_multiscale", "voc_2012_test"),
        ("imagenet_det_multiscale", "imagenet_det_val2"),
    ],
)
def test_scales_are_the_appendixs(name, test):
    """ResNet, appendix B: "an image pyramid, where the image's shorter sides are s in {200, 400, 600, 800, 1000}"."""
    cfg = load_config(f"paper/resnet/faster_rcnn_resnet101_{name}.yaml")
    assert ((200, 400, 600, 800, 1000) if "multi" in name else ()) == cfg.TEST.REGION_SCALES
    assert (test,) == cfg.DATASETS.TEST


def test_the_four_steps_share_a_frozen_backbone():
    cfg = load_config("paper/resnet/faster_rcnn_resnet101_coco.yaml", "OUTPUT_DIR", "out")
    one, two, three, four = (phase_config(cfg, stage) for stage in cfg.PHASES)
    assert [c.MODEL.BACKBONE.FREEZE_AT for c in (one, two, three, four)] == [2, 2, 5, 5]
    assert three.MODEL.WEIGHTS == four.MODEL.WEIGHTS == "out/fast_rcnn/model_final.pth" and not one.MODEL.WEIGHTS
    assert two.DATASETS.PROPOSAL_FILES_TRAIN == ("out/rpn/proposals/coco_2014_train.pth",)
    assert four.DATASETS.PROPOSAL_FILES_TEST == ("out/rpn_shared/proposals/coco_2014_val.pth",)
    two.defrost()
    assert phase_config(cfg, cfg.PHASES[0], ["SOLVER.IMS_PER_BATCH"]).SOLVER.IMS_PER_BATCH == 16  # the user's stays


def models():
    """A config for each model that differs from all before, and for each recipe's stages, whatever the network."""
    seen = set()
    for name in LEAVES:
        cfg = load_config(name)
        stages = [None, *(cfg.PHASES if "resnet50_" in name else [])]
        for stage in stages:
            key = str((phase_config(cfg, stage) if stage else cfg).MODEL) + str(cfg.TEST.REGION_SCALES)
            if key not in seen:
                seen.add(key)
                yield pytest.param(name, stage, id=name.removesuffix(".yaml") + (f":{stage['name']}" if stage else ""))


@pytest.mark.parametrize(("name", "stage"), list(models()))
def test_its_model_takes_a_step_and_infers(name, stage):
    cfg = load_config(name, "MODEL.ROI_HEADS.NUM_CLASSES", 4, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4)
    cfg.merge_from_list(["MODEL.ROI_BOX_HEAD.FC_DIM", 64, "MODEL.ROI_LOC_HEAD.CONV_DIM", 64])
    cfg = phase_config(cfg, stage) if stage else cfg
    cfg.defrost()
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 4
    if cfg.MODEL.RESNETS.NORM == "SyncBN":  # which knows GPUs only
        cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = cfg.MODEL.ROI_BOX_HEAD.NORM = "BN"
    model = build_model(cfg)
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    entry = {"image": image, "instances": Instances((64, 64)), "proposals": Instances((64, 64))}
    entry["instances"].gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 50.0]]))
    entry["instances"].gt_classes = torch.tensor([3])
    entry["proposals"].proposal_boxes = Boxes(torch.tensor([[6.0, 2.0, 42.0, 50.0], [20.0, 20.0, 60.0, 60.0]]))
    entry["proposals"].objectness_logits = torch.tensor([1.0, 0.0])
    losses = model([entry])
    assert losses and all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    spec, frozen = spec_of_builder(cfg.MODEL.BACKBONE.NAME), cfg.MODEL.BACKBONE.FREEZE_AT
    backbone = getattr(model.backbone, "bottom_up", model.backbone)
    last = [p for p in backbone.parameters() if p.dim() == 4][-1]
    assert (last.grad is None) == (frozen == 5)
    if not isinstance(spec, VGGSpec) and hasattr(getattr(model, "roi_heads", None), "res5"):
        stage5 = model.roi_heads.res5
        assert stage5[0].conv1.weight.grad is not None
        assert len(stage5) == spec.depths[-1] and len(stage5[0].layers) == len(spec.kernels)
    model.eval()
    with torch.no_grad():
        (found,) = model([entry])
    assert ("proposals" if cfg.MODEL.META_ARCHITECTURE == RPN else "instances") in found
