"""Detectors: heads, weights, evaluators; against detectron2's own and pycocotools."""

import json

from backbones.catalogue import get_spec
from backbones.errors import InputError
from backbones.resnet import ResidualNet
from backbones.weights.files import save_checkpoint
from backbones.weights.read import read_weights, resolve_preprocessing
from backbones.whole_files import write_json
from detection.checkpoint import load_detector
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.layouts.coco import write_coco
from detection.evaluation.report import summary, table
from detection.evaluation.voc import VOCEvaluator
from detection.inference.modes import validation_losses
from detection.prepare import prepare
from detection.trainer import DetectionTrainer

import numpy as np
import pytest
import torch
import torchvision
from detection_configs import load_config
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from recognisable_states import recognisable


@pytest.fixture
def classifier(tmp_path):
    net = ResidualNet(get_spec("resnet18"), num_classes=3)
    path = tmp_path / "classifier.pth"
    about = {"task": "classification", "arch": "resnet18", "classes": list("abc")}
    about |= {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "channel_order": "RGB"}
    save_checkpoint({"model": net.state_dict(), "matching_heuristics": True, **about}, path)
    return net, path


@pytest.mark.parametrize("kind", ["", "_fpn"])
def test_classifier_fills_backbone_and_stage_5(kind, classifier):
    net, path = classifier
    cfg = load_config(f"faster_rcnn_resnet18{kind}.yaml", "MODEL.WEIGHTS", str(path))
    resolve_preprocessing(cfg, read_weights(path))
    assert cfg.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0] and cfg.MODEL.PIXEL_STD == [4.0, 5.0, 6.0]
    model = build_model(cfg)
    load_detector(cfg, model, read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    backbone = model.backbone.bottom_up if kind else model.backbone
    stage5 = backbone.layer4 if kind else model.roi_heads.res5
    assert torch.equal(backbone.conv1.weight, net.conv1.weight)
    assert torch.equal(backbone.layer3[1].bn2.running_var, net.layer3[1].bn2.running_var)
    assert torch.equal(stage5[1].conv2.weight, net.layer4[1].conv2.weight)
    with pytest.raises(InputError, match="holds a classifier"):
        load_detector(cfg, model, read_weights(cfg.MODEL.WEIGHTS), for_training=False)


def test_torchvisions_vgg_fills_convolutions_and_head(tmp_path):
    cfg = load_config("faster_rcnn_vgg16.yaml", "MODEL.WEIGHTS", str(tmp_path / "vgg16.pth"))
    with torch.device("meta"):
        network = recognisable(torchvision.models.vgg16().state_dict())
    torch.save(network, tmp_path / "vgg16.pth")
    model = build_model(cfg)
    own = ("proposal_generator.", "roi_heads.box_predictor.")
    before = {k: v.clone() for k, v in model.state_dict().items() if k.startswith(own)}
    load_detector(cfg, model, read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    after = model.state_dict()
    assert torch.equal(after["backbone.features.28.weight"], network["features.28.weight"])
    assert torch.equal(after["roi_heads.box_head.classifier.3.weight"], network["classifier.3.weight"])
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert len(after) - len(before) == len(network) - 2  # of which a detector has all but the layer of the classes
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
    with pytest.raises(InputError, match="fc6 of vgg16 takes 512 channels of 7 x 7"):
        build_model(cfg)
    cfg.MODEL.ROI_HEADS.NAME = "ArchRes5ROIHeads"
    with pytest.raises(InputError, match="vgg16 has no stage 5"):
        build_model(cfg)


def test_stock_detectron2_takes_our_checkpoint(classifier):
    from detectron2.checkpoint import DetectionCheckpointer

    net, path = classifier
    model = build_model(load_config("faster_rcnn_resnet18_fpn.yaml"))
    DetectionCheckpointer(model).load(str(path))
    assert torch.equal(model.backbone.bottom_up.layer4[1].conv2.weight, net.layer4[1].conv2.weight)


def test_another_arch_is_refused(classifier, tmp_path):
    cfg = load_config("faster_rcnn_resnet50_fpn.yaml", "MODEL.WEIGHTS", str(classifier[1]))
    with pytest.raises(InputError, match="holds resnet18, the model is resnet50"):
        load_detector(cfg, torch.nn.Module(), read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    torch.save(classifier[0].state_dict(), tmp_path / "bare.pth")  # one that does not say what it is
    cfg.MODEL.WEIGHTS = str(tmp_path / "bare.pth")
    with pytest.raises(InputError, match=r"\d+ of \d+ entries fit; \d+ missing"):
        load_detector(cfg, build_model(cfg), read_weights(cfg.MODEL.WEIGHTS), for_training=True)


def detector_file(cfg, path):
    model = build_model(cfg)
    save_checkpoint({"model": model.state_dict(), **DetectionTrainer.metadata(cfg)}, path)
    return model


def test_other_classes_reinitialise_the_predictor_and_say_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    cfg = load_config("faster_rcnn_resnet18.yaml", "MODEL.ROI_HEADS.NUM_CLASSES", 2, "DATASETS.CLASSES", ("a", "b"))
    path = tmp_path / "detector.pth"
    old = detector_file(cfg, path)
    cfg.MODEL.WEIGHTS = str(path)
    cfg.DATASETS.CLASSES, cfg.MODEL.ROI_HEADS.NUM_CLASSES = ("a", "b", "c"), 3
    new = build_model(cfg)
    with caplog.at_level("WARNING", logger="residet"):
        load_detector(cfg, new, read_weights(cfg.MODEL.WEIGHTS), for_training=True)
    assert "was trained for 2 classes ['a', 'b'], the data has 3 classes" in caplog.text
    assert new.roi_heads.box_predictor.cls_score.out_features == 4
    assert torch.equal(new.proposal_generator.rpn_head.conv.weight, old.proposal_generator.rpn_head.conv.weight)
    with pytest.raises(InputError, match="evaluate on matching data"):
        load_detector(cfg, new, read_weights(cfg.MODEL.WEIGHTS), for_training=False)


@pytest.fixture
def registered(shapes):
    cfg = default_config()
    cfg.DATASETS.TRAIN = ()
    cfg.DATASETS.TEST = (str(shapes / "annotations" / "train.json"),)  # every class is in it
    resolve_datasets(cfg)
    return cfg


def predictions(name, noise, seed=0):
    """Truth, moved by some pixels, with false ones among them; as a detector gives them."""
    rng = np.random.default_rng(seed)
    classes = len(MetadataCatalog.get(name).thing_classes)
    for record in DatasetCatalog.get(name):
        boxes = [a["bbox"] + rng.normal(0, noise, 4) for a in record["annotations"] for _ in range(2)]
        kinds = [a["category_id"] for a in record["annotations"] for _ in range(2)]
        kinds = [k if rng.random() < 0.8 else int(rng.integers(classes)) for k in kinds]
        found = Instances((record["height"], record["width"]))
        # To the digits that detectron2's evaluator writes, so that both see the same numbers.
        found.pred_boxes = Boxes(torch.tensor(np.round(boxes, 1).reshape(-1, 4), dtype=torch.float32))
        found.scores = torch.tensor(rng.permutation(999)[: len(kinds)] / 1000)
        found.pred_classes = torch.tensor(kinds)
        yield record, {"instances": found}


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_coco_numbers_are_pycocotools(registered, tmp_path, noise):
    name = registered.DATASETS.TEST[0]
    registered.OUTPUT_DIR = str(tmp_path)
    evaluator = DetectionTrainer.build_evaluator(registered, name)
    evaluator.reset()
    results = []
    for record, output in predictions(name, noise):
        evaluator.process([record], [output])
        found = output["instances"]
        for box, score, kind in zip(found.pred_boxes.tensor.tolist(), found.scores, found.pred_classes, strict=True):
            x0, y0, x1, y1 = box
            results.append(
                {"image_id": record["image_id"], "category_id": int(kind), "score": float(score)}
                | {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            )
    truth = COCO(name)  # the file as it was, not as we wrote it
    reference = COCOeval(truth, truth.loadRes(results), "bbox")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    ours = evaluator.evaluate()["bbox"]
    np.testing.assert_allclose([ours["AP"], ours["AP50"], ours["AP75"]], 100 * reference.stats[:3], rtol=1e-9)


@pytest.mark.parametrize(("year", "suffix"), [(2012, ""), (2007, "-07metric")])
def test_voc_numbers_are_detectron2s(registered, tmp_path, year, suffix):
    (name,) = registered.DATASETS.TEST
    records = DatasetCatalog.get(name)
    for i, record in enumerate(records):
        record["image_id"] = f"{i:03d}"
        for a in record["annotations"]:
            a["difficult"] = int(i % 2 and a["category_id"] in (0, 2))  # of the most frequent classes, some
    write_voc(tmp_path, records, MetadataCatalog.get(name).thing_classes)
    MetadataCatalog.get(name).set(dirname=str(tmp_path), split="val", year=year)
    ours, theirs = VOCEvaluator(name), PascalVOCDetectionEvaluator(name)
    ours.reset(), theirs.reset()
    for record, output in predictions(name, 3.0):
        ours.process([record], [output])
        theirs.process([record], [output])
    expected, found = theirs.evaluate()["bbox"], ours.evaluate()["voc"]
    assert 5 < expected["AP75"] < expected["AP50"] < 95
    for key in ("AP", "AP50", "AP75"):
        assert found[key + suffix] == pytest.approx(expected[key], abs=1e-6), key


def write_voc(root, records, classes):
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(r["image_id"] for r in records))
    for record in records:
        objects = ""
        for a in record["annotations"]:
            x0, y0, x1, y1 = (int(v) for v in a["bbox"])
            corners = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects += f"<object><name>{classes[a['category_id']]}</name><pose>x</pose><truncated>0</truncated>"
            objects += f"<difficult>{a.get('difficult', 0)}</difficult><bndbox>{corners}</bndbox></object>"
        (root / "Annotations" / f"{record['image_id']}.xml").write_text(f"<annotation>{objects}</annotation>")


def test_truth_scores_100_and_nothing_scores_0(registered, tmp_path):
    name = registered.DATASETS.TEST[0]
    registered.OUTPUT_DIR = str(tmp_path)
    for share, expected in ((1, 100.0), (0, 0.0)):
        evaluator = DetectionTrainer.build_evaluator(registered, name)
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            found = Instances((record["height"], record["width"]))
            kept = record["annotations"] if share else record["annotations"][:0]
            found.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in kept]).reshape(-1, 4))
            found.scores = torch.ones(len(kept))
            found.pred_classes = torch.tensor([a["category_id"] for a in kept], dtype=torch.int64)
            evaluator.process([record], [{"instances": found}])
        results = summary(evaluator.evaluate(), registered.DATASETS.CLASSES)
        assert [results[k] for k in ("VOC AP50", "AP50", "AP", "AP star")] == pytest.approx([expected] * 4)


def test_validation_losses_do_not_depend_on_how_images_are_shared_out(registered):
    cfg = load_config("faster_rcnn_resnet18_fpn.yaml", "MODEL.RESNETS.NORM", "BN", "INPUT.MIN_SIZE_TEST", 64)
    cfg.merge_from_list(["MODEL.ROI_BOX_HEAD.FC_DIM", 16, "DATALOADER.NUM_WORKERS", 0])
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 5
    model, (name,) = build_model(cfg), registered.DATASETS.TEST
    records = DatasetCatalog.get(name)
    parts = {f"{name} {i}": records[i:j] for i, j in ((0, 5), (5, 16))}
    for part, of_part in parts.items():
        DatasetCatalog.register(part, lambda of_part=of_part: of_part)
    whole = validation_losses(cfg, model, name)
    losses = [validation_losses(cfg, model, part) for part in parts]
    for key, value in whole.items():
        assert (5 * losses[0][key] + 11 * losses[1][key]) / 16 == pytest.approx(value, rel=1e-6)
    assert {"total_loss", "loss_cls", "loss_rpn_loc"} <= set(whole) and model.training


def test_json_has_null_where_there_is_no_number(tmp_path):
    write_json({"a": [float("nan"), 1.5], "b": {"c": float("nan")}}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}


def test_table_has_a_column_per_figure():
    text = table({"pretrained": {"AP": 50.123, "AP50": 71.0}, "random": {"AP": 3.0}})
    assert text.splitlines()[2].split("|")[1:4] == [" pretrained ", " 50.1 ", "   71.0 "]
    assert "-" in text.splitlines()[3].split("|")[3]


def test_prepare_names_what_is_wrong(shapes):
    def prepared(*opts, eval_only=False):
        cfg = load_config("faster_rcnn_resnet18_fpn.yaml", *opts)
        prepare(cfg, eval_only=eval_only)

    with pytest.raises(InputError, match=r"TEST\.EVALUATORS"):
        prepared("TEST.EVALUATORS", ("lvis",))
    with pytest.raises(InputError, match=r"TEST\.BEST_METRIC: bbx/AP is none of bbox/…, voc/…, errors/…"):
        prepared("TEST.BEST_METRIC", "bbx/AP")
    for metric in ("validation/total_loss", "bbox_ema/AP", "coco_2017_val/bbox/AP"):  # the first two take an option
        with pytest.raises(InputError, match=rf"TEST\.BEST_METRIC: {metric} is none of"):
            prepared("TEST.BEST_METRIC", metric)
    with pytest.raises(InputError, match=r"bbox/AP is none of a/bbox/…, a/voc/…, a/errors/…, b/bbox"):
        prepared("TEST.BEST_METRIC", "bbox/AP", "DATASETS.TEST", ("a", "b"))
    with pytest.raises(InputError, match=r"SCALE_LR_FROM_BATCH: phases have learning rates"):
        prepared("SOLVER.SCALE_LR_FROM_BATCH", 8, "PHASES", [{"name": "a"}])
    with pytest.raises(InputError, match="give --weights FILE"):
        prepared(eval_only=True)
    with pytest.raises(InputError, match=r"coco_2017_train|instances_train2017"):
        prepared()


def test_shapes_are_the_same_for_the_same_seed(shapes, tmp_path):
    from detection.data.synthetic import make_shapes

    make_shapes(tmp_path, train=2, test=1, seed=0)
    ours, theirs = (json.loads((r / "annotations" / "train.json").read_text()) for r in (tmp_path, shapes))
    first = {i["id"] for i in ours["images"]}
    expected = [a for a in theirs["annotations"] if a["image_id"] in first]
    assert ours["annotations"] == expected and expected
    write_coco([], (), tmp_path / "empty.json")
    assert not (tmp_path / "empty.partial").exists()
