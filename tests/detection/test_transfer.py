"""Fine-tuning on a user's own set: classes, anchors and schedule from the data; what a detector hands on to another."""

import json
from types import SimpleNamespace

from backbones import load_backbone
from backbones.registry import spec_of_builder
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.read import read_weights
from detection.auto_config import resolve_micro_batches, resolve_schedule_and_anchors
from detection.checkpoint import load_detector, transfer_classes
from detection.config import default_config
from detection.prepare import prepare
from detection.trainer import DetectionTrainer

import numpy as np
import pytest
import torch
from annotation_files import coco, records_of
from detection_configs import load_config
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from recognisable_states import recognisable
from run_tools import DATA, assert_clear_error, run_tool, train_net
from torch import nn

FPN = "configs/faster_rcnn_resnet18_fpn.yaml"
TINY = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0, "TEST.PICTURES", 1]
TINY += ["SOLVER.IMS_PER_BATCH", 2, "MODEL.FPN.OUT_CHANNELS", 32, "MODEL.ROI_BOX_HEAD.FC_DIM", 32]
TINY += ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16]


# Anchors and schedule


def adapted(name, records, *given, anchors=True, batch=16):
    cfg = load_config(name)
    source = f"adapt {len(DatasetCatalog.list())}"
    DatasetCatalog.register(source, lambda: records)
    cfg.DATASETS.TRAIN = (source,)
    return cfg, resolve_schedule_and_anchors(cfg, given, batch, anchors=anchors)


def images(count, side, ratio=1.0, size=800):
    box = {"bbox": [0, 0, side / ratio**0.5, side * ratio**0.5], "category_id": 0, "iscrowd": 0}
    return [{"height": size, "width": size, "annotations": [box]}] * count


def test_the_schedule_goes_through_detectron2s_two():
    cfg, _ = adapted("faster_rcnn_resnet50_fpn.yaml", images(16551, 100))
    assert cfg.SOLVER.MAX_ITER == 18000 and cfg.SOLVER.STEPS == (12000, 16000)
    cfg, lines = adapted("faster_rcnn_resnet50_fpn.yaml", images(205, 100))
    assert (
        cfg.SOLVER.MAX_ITER == 487
        and "38 epochs of 205 images" in lines[0]
        and cfg.SOLVER.STEPS == (325, 433)
        and cfg.SOLVER.WARMUP_ITERS == 24
    )
    cfg, _ = adapted("faster_rcnn_resnet50_fpn_3x.yaml", images(205, 100))
    assert cfg.SOLVER.MAX_ITER == 1462
    cfg, lines = adapted("faster_rcnn_resnet50_fpn.yaml", images(117266, 100))
    assert cfg.SOLVER.MAX_ITER == 90000 and lines == []
    cfg, lines = adapted("bccd/resnet18_fpn.yaml", images(205, 100))
    assert cfg.SOLVER.MAX_ITER == 500 and lines == []  # it is for this set already


def test_the_configs_own_data_has_the_configs_schedule(shapes):
    """COCO's images are more than those with boxes, for which the schedule is; and VOC 07++12 has the one of 07+12."""
    for batch, iterations in ((0, 90000), (16, 60)):
        cfg = load_config("faster_rcnn_resnet18_fpn.yaml")
        cfg.DATASETS.TRAIN = (str(shapes / "annotations" / "train.json"),)
        cfg.DATASETS.TEST = (str(shapes / "annotations" / "val.json"),)
        lines = prepare(cfg, eval_only=False, schedule_batch_size=batch).lines
        assert iterations == cfg.SOLVER.MAX_ITER and any(line.startswith("scaled") for line in lines) == bool(batch)


def test_what_the_user_sets_stays():
    cfg, lines = adapted("faster_rcnn_resnet50.yaml", images(300, 8), "SOLVER.MAX_ITER", "MODEL.ANCHOR_GENERATOR.SIZES")
    assert cfg.SOLVER.MAX_ITER == 90000 and lines == []
    cfg, lines = adapted("faster_rcnn_resnet50.yaml", images(301, 8), anchors=False)
    assert len(lines) == 1 and cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[32, 64, 128, 256, 512]]


def test_anchors_are_of_the_boxes_sizes_after_resizing():
    small = images(150, 5) + images(150, 40)  # 4.5 and 36 pixels once 800 become 720
    cfg, lines = adapted("faster_rcnn_resnet50.yaml", small)
    (sizes,) = cfg.MODEL.ANCHOR_GENERATOR.SIZES
    assert len(sizes) == 4 and sizes[0] in (4, 5) and sizes[-1] == 36 and "px after resizing" in lines[1]
    cfg, _ = adapted("faster_rcnn_resnet50_fpn.yaml", small)
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[8], [16], [32], [64], [128]]
    cfg, lines = adapted("faster_rcnn_resnet50_fpn.yaml", images(200, 100, ratio=4.0))
    assert cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS == [[0.5, 1.0, 2.0, 3.0, 5.0]] and "height / width" in lines[1]

    for side, expected in ((0.9, [4, 8, 16]), (15, [7, 14, 27])):  # all boxes alike
        cfg, _ = adapted("faster_rcnn_resnet50.yaml", images(200, side))
        assert [expected] == cfg.MODEL.ANCHOR_GENERATOR.SIZES


# Detector to detector


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("faster_rcnn_resnet18.yaml", ["roi_heads.box_predictor.cls_score.weight"]),
        (
            "paper/wrn/multipathnet_wrn34_2_coco.yaml",
            [f"roi_heads.box_predictor.cls_scores.{u}.bias" for u in range(6)],
        ),
    ],
)
def test_classes_of_the_same_name_are_kept(name, layers, tmp_path):
    old = load_config(name, "MODEL.BACKBONE.NAME", "build_resnet18_backbone", "MODEL.ROI_BOX_HEAD.FC_DIM", 16)
    old.merge_from_list(["MODEL.ROI_LOC_HEAD.CONV_DIM", 8])
    old.DATASETS.CLASSES, old.MODEL.ROI_HEADS.NUM_CLASSES = ("cat", "dog", "cow"), 3
    model = build_model(old)
    save_checkpoint({"model": model.state_dict(), **DetectionTrainer.metadata(old)}, tmp_path / "old.pth")
    new = old.clone()
    new.DATASETS.CLASSES, new.MODEL.ROI_HEADS.NUM_CLASSES = ("Cow", "horse", "cat", "pig"), 4
    new.MODEL.WEIGHTS = str(tmp_path / "old.pth")
    fresh = build_model(new)
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    load_detector(new, fresh, read_weights(new.MODEL.WEIGHTS), for_training=True)
    after, theirs = fresh.state_dict(), model.state_dict()
    for layer in layers:
        assert torch.equal(after[layer][[0, 2, 4]], theirs[layer][[2, 0, 3]])  # cow, cat, background
        assert torch.equal(after[layer][[1, 3]], before[layer][[1, 3]])  # horse and pig, as initialised
    boxes = "roi_heads.box_predictor.bbox_pred.weight"
    assert torch.equal(after[boxes][:4], theirs[boxes][8:]) and torch.equal(after[boxes][4:8], before[boxes][4:8])
    if "localiser" in str(after.keys()):
        locate = "roi_heads.localiser.predict_x.weight"
        assert torch.equal(after[locate].unflatten(0, (4, -1))[2], theirs[locate].unflatten(0, (3, -1))[0])
    assert all(torch.equal(after[k], theirs[k]) for k in after if k.startswith(("backbone.", "proposal_generator.")))


def transferred(key, ours, theirs, new, old, folder):
    """What a layer of a detector of the classes `old` becomes in one of `new`."""
    save_checkpoint({"model": {key: theirs}, "classes": list(old)}, folder / "d.pth")
    cfg = default_config()
    cfg.DATASETS.CLASSES = tuple(new)
    model = SimpleNamespace(state_dict=lambda: {key: ours})
    return transfer_classes(cfg, model, read_weights(folder / "d.pth"), True)[key]


def test_boxes_for_all_classes_and_other_features_are_no_rows_of_classes(tmp_path):
    ours, theirs, boxes = torch.zeros(12, 5), torch.ones(4, 5), "roi_heads.box_predictor.bbox_pred.weight"
    assert torch.equal(transferred(boxes, ours, theirs, "abc", "ad", tmp_path), torch.zeros(12, 5))
    assert torch.equal(transferred(boxes, 2 * theirs, theirs, "abc", "ad", tmp_path), theirs)
    # As many rows in all, but not of each class: another LocNet's.
    locate = "roi_heads.localiser.predict_x.weight"
    assert torch.equal(transferred(locate, ours, torch.ones(12, 5), "abc", "ab", tmp_path), ours)
    wide = torch.ones(8, 9)
    assert torch.equal(transferred(boxes, ours, wide, "abc", "ad", tmp_path), wide)  # which loading refuses


def test_a_run_and_those_it_is_the_start_of_keep_its_anchors(shapes, tmp_path):
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", "OUTPUT_DIR", str(tmp_path), "MODEL.ROI_BOX_HEAD.FC_DIM", 16)
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (str(shapes / "annotations" / "train.json"),)
    fresh = cfg.clone()
    prepare(cfg, eval_only=False, schedule_batch_size=16)
    scaled = cfg.MODEL.ANCHOR_GENERATOR.SIZES
    assert scaled != fresh.MODEL.ANCHOR_GENERATOR.SIZES
    about = DetectionTrainer.metadata(cfg)
    state = {"model": build_model(cfg).state_dict(), "trainer": {"iteration": 1}}
    save_checkpoint({**state, **about}, tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    for resume, weights in ((True, ""), (False, str(tmp_path / "model_0000001.pth"))):
        again = fresh.clone()
        again.MODEL.WEIGHTS = weights
        prepare(again, eval_only=False, resume=resume, schedule_batch_size=16)
        assert scaled == again.MODEL.ANCHOR_GENERATOR.SIZES


def test_a_detector_that_names_no_anchors_keeps_the_configs(shapes, tmp_path):
    cfg = load_config("faster_rcnn_resnet18.yaml", "MODEL.WEIGHTS", str(tmp_path / "zoo.pth"))
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    torch.save(build_model(cfg).state_dict(), tmp_path / "zoo.pth")
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (str(shapes / "annotations" / "train.json"),)
    lines = prepare(cfg, eval_only=False, schedule_batch_size=16).lines
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[32, 64, 128, 256, 512]]
    assert any(line.startswith("scaled to the data") for line in lines)


@pytest.mark.parametrize("name", ["faster_rcnn_resnet18.yaml", "faster_rcnn_vgg16.yaml"])
def test_an_rpn_starts_from_a_classifier(name, tmp_path):
    cfg = load_config(name, "MODEL.META_ARCHITECTURE", "ProposalNetwork", "MODEL.WEIGHTS", str(tmp_path / "c.pth"))
    with torch.device("meta"):
        network = spec_of_builder(cfg.MODEL.BACKBONE.NAME).build(3)
    torch.save(recognisable(network.state_dict()), tmp_path / "c.pth")
    model = build_model(cfg)
    load_detector(cfg, model, read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    theirs = torch.load(tmp_path / "c.pth")
    ours = model.backbone.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if k in theirs) and len(ours) > 20


def test_retinanets_rows_go_by_anchor_and_class(tmp_path):
    old = default_config()
    old.DATASETS.CLASSES = ("cat", "dog")

    class Head(torch.nn.Module):
        def __init__(self, classes, anchors=3):
            super().__init__()
            self.head = torch.nn.Module()
            self.head.cls_score = torch.nn.Conv2d(4, anchors * classes, 3)

    theirs, ours = Head(2), Head(3)
    save_checkpoint({"model": theirs.state_dict(), "classes": ["cat", "dog"]}, tmp_path / "r.pth")
    old.DATASETS.CLASSES = ("dog", "cow", "cat")
    state = transfer_classes(old, ours, read_weights(tmp_path / "r.pth"), True)
    key = "head.cls_score.weight"
    given, rows = theirs.state_dict()[key].unflatten(0, (3, 2)), state[key].unflatten(0, (3, 3))
    assert torch.equal(rows[:, 0], given[:, 1]) and torch.equal(rows[:, 2], given[:, 0])
    assert torch.equal(rows[:, 1], ours.state_dict()[key].unflatten(0, (3, 3))[:, 1])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ([], 8),
        (["INPUT.MIN_SIZE_TRAIN", (400,)], 2),
        (["INPUT.MIN_SIZE_TRAIN", (200,)], 1),
        (["SOLVER.IMS_PER_BATCH", 15], 15),
        (["SOLVER.ACCUMULATE", 4], 8),
        (["MODEL.FPN.NORM", "BN"], 1),
        (["MODEL.DEVICE", "cuda"], 1),
    ],
)
def test_a_cpu_takes_large_images_two_at_a_time(options, parts):
    """16 images of 800 pixels, the config's batch, took more than 23 GiB."""
    cfg = load_config("faster_rcnn_resnet50_fpn.yaml", "MODEL.DEVICE", "cpu", *options)
    lines = resolve_micro_batches(cfg, [])
    assert parts == cfg.SOLVER.ACCUMULATE and len(lines) == (parts > 1)
    assert resolve_micro_batches(cfg, []) == []  # a later run reads the config that this one has written


def test_the_users_own_number_of_micro_batches_stays():
    cfg = load_config("faster_rcnn_resnet50_fpn.yaml", "MODEL.DEVICE", "cpu")
    assert resolve_micro_batches(cfg, ["SOLVER.ACCUMULATE"]) == [] and cfg.SOLVER.ACCUMULATE == 1


# By the tool


@pytest.mark.slow
def test_one_command_fine_tunes_and_hands_on(yolo, shapes, tmp_path):
    args = ["--config-file", FPN, "--train", yolo, "--val", yolo, "--from-scratch", *TINY]
    done = train_net(*args, "SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert "anchors: sizes [[" in done.stdout and "scaled to the data" not in done.stdout
    assert done.stdout.count("schedule:") == 1 and "warning: SOLVER.WARMUP_ITERS is 1000" in done.stdout
    first = read_checkpoint(tmp_path / "a" / "model_final.pth")
    assert isinstance(load_backbone(tmp_path / "a" / "model_final.pth").bn1, nn.GroupNorm)
    assert first["classes"] == ["cross", "disk", "square", "star", "triangle"]

    weights = tmp_path / "a" / "model_final.pth"
    cats = coco(tmp_path / "c")  # one image of cat and dog
    args = ["--config-file", FPN, "--train", cats, "--val", cats, "--weights", weights, "--freeze", 3, *TINY]
    done = train_net(*args, "OUTPUT_DIR", tmp_path / "b", "MODEL.RESNETS.NORM", "GN", "MODEL.FPN.NORM", "GN")
    assert done.returncode == 0, done.stderr
    assert "box predictor re-initialised" in done.stdout and "images are in the training data too" in done.stdout
    assert "scaled to the data: " in done.stdout and "epochs of 1 images" in done.stdout
    assert done.stdout.count("schedule:") == 1 and "warning: SOLVER" not in done.stdout
    second = read_checkpoint(tmp_path / "b" / "model_final.pth")
    stem, last = "backbone.bottom_up.layer2.1.conv2.weight", "backbone.bottom_up.layer3.1.conv2.weight"
    assert torch.equal(first["model"][stem], second["model"][stem])
    assert not torch.equal(first["model"][last], second["model"][last])

    # A folder of images is predicted on, with the detector's classes.
    config = ["--config-file", tmp_path / "b" / "config.yaml", "--weights", tmp_path / "b" / "model_final.pth"]
    done = train_net(*config, "--eval-only", "--val", shapes / "images" / "val", "OUTPUT_DIR", tmp_path / "p")
    assert done.returncode == 0, done.stderr
    assert "6 images without annotations" in done.stdout
    assert next((tmp_path / "p" / "inference").rglob("coco_instances_results.json"))
    assert len(list((tmp_path / "p" / "pictures").glob("*.png"))) == 1


@pytest.mark.slow
def test_mistakes_of_transfer_are_answered(yolo, tmp_path, tmp_path_factory):
    def answer(*args, words):
        assert_clear_error(train_net("--config-file", FPN, *args, "OUTPUT_DIR", tmp_path / "x"), *words)

    (tmp_path / "empty").mkdir()
    answer("--train", tmp_path / "empty", "--val", yolo, words=("--train", "yolo: YOLO's label files"))
    named = ("--train", yolo, "--val", yolo, "MODEL.WEIGHTS", "")
    answer(*named, words=("2 stages and all norms", "--weights auto", "--from-scratch"))
    other = coco(tmp_path_factory.mktemp("coco"))  # not in the folder of `yolo`, which is tmp_path
    answer("--from-scratch", "--train", yolo, "--val", other, words=("its classes are not those to learn",))
    args = ["--train", yolo, "--val", yolo, "--weights", tmp_path / "no.pth"]
    answer(*args, "--freeze", 9, words=("FREEZE_AT", "9 is not a whole number of 0 to 5"))
    answer(*args, words=("no such checkpoint",))


@pytest.mark.slow
def test_data_is_inspected_and_converted(yolo, tmp_path):
    (yolo / "images" / "val" / "00003.png").write_bytes((yolo / "images" / "val" / "00003.png").read_bytes()[:300])
    done = run_tool("inspect_data.py", yolo, "--samples", 2, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "inspect.json").read_text())
    val = next(v for k, v in report.items() if k.endswith(":val"))
    assert val["images"] == 6 and sum(c["boxes"] for c in val["classes"].values()) == val["boxes"] > 0
    assert [name[-9:] for name in val["unreadable"]] == ["00003.png"]
    assert "00003.png: cannot be decoded" in done.stdout and "median" in done.stdout
    bccd = ["inspect_data.py", f"{DATA / 'bccd'}:test", "--samples", 1, "--augmented", 2]
    done = run_tool(*bccd, "--config-file", "configs/bccd/resnet18_fpn.yaml", "--output", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "b").glob("*.png"))) == 2 and "of 2 augmented samples" in done.stdout

    target = tmp_path / "converted" / "test.json"
    done = run_tool("convert.py", f"{DATA / 'bccd'}:test", target)
    assert done.returncode == 0, done.stderr
    theirs, classes, _ = records_of(f"{DATA / 'bccd'}:test")
    ours, same, _ = records_of(target)
    assert same == classes and len(ours) == 3
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            [x["bbox"] for x in a["annotations"]], [x["bbox"] for x in b["annotations"]], atol=1e-6
        )
    assert_clear_error(run_tool("convert.py", f"{DATA / 'bccd'}:test", target), "exists")
