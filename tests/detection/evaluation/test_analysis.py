"""Evaluators: COCO's 12 numbers by both libraries, TIDE's errors, the confusion matrix, files for servers."""

import json
from pathlib import Path

from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.evaluation import tide
from detection.evaluation.analysis import BACKGROUND, ErrorAnalysis, confusion_matrix
from detection.evaluation.coco import APIS, BoxCOCOEvaluator, coco_stats
from detection.trainer import DetectionTrainer

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image
from random_detections import CLASSES, SIZE, as_coco, as_overlaps, random_images

# AP50 and what each error costs, of tidecv 1.0.1 (TIDE's authors') on random_images(seed, crowds=0); and its counts.
TIDECV = {
    0: (
        {"AP50": 34.239431, "Cls": 2.246835, "Loc": 8.093232, "Both": 2.727036, "Dupe": 3.314835, "Bkg": 12.906025}
        | {"Miss": 0.498295, "FalsePos": 56.849678},
        {"Cls": 20, "Loc": 46, "Both": 19, "Dupe": 57, "Bkg": 80},
    ),
    1: (
        {"AP50": 37.609333, "Cls": 0.473154, "Loc": 9.585013, "Both": 1.502617, "Dupe": 3.238766, "Bkg": 14.046314}
        | {"Miss": 2.527206, "FalsePos": 47.539181, "FalseNeg": 6.658495},
        {"Cls": 14, "Loc": 43, "Both": 12, "Dupe": 70, "Bkg": 88},
    ),
}


@pytest.mark.parametrize("seed", TIDECV)
def test_errors_are_those_of_tides_authors(seed):
    costs, counts = TIDECV[seed]
    found = tide.match(as_overlaps(random_images(seed=seed, crowds=0)))
    assert {name: (found.kind == i).sum() for i, name in enumerate(tide.KINDS)} == counts
    ours = tide.errors(found)
    assert {k: ours[k] for k in costs} == pytest.approx(costs, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_our_own_code_gives_pycocotools_twelve_numbers(seed):
    images = random_images(seed=seed)
    truth, found = as_coco(images)
    if seed == 3:  # ties: of scores in and between images, and of overlaps; detections of an unknown class
        for i, d in enumerate(found):
            d["score"] = round(d["score"], 2)
            d["category_id"] = 99 if i % 17 == 0 else d["category_id"]
        found += [dict(d) for d in found[::5]]
        again = [dict(a) for a in truth["annotations"][::3]]
        truth["annotations"] += [a | {"id": len(truth["annotations"]) + i} for i, a in enumerate(again, 1)]
        truth["images"].reverse()
    stats, precision = coco_stats(truth, found, "pycocotools")
    ours, our_precision = coco_stats(truth, found, "numpy")
    assert stats.shape == (12,) and (stats[[0, 1, 2, 4, 6, 7, 8]] > 0.05).all()
    np.testing.assert_array_equal(ours, stats)
    np.testing.assert_array_equal(our_precision, precision)
    if seed < 3:
        ap50 = tide.errors(tide.match(as_overlaps(images)))["AP50"]
        assert ap50 == pytest.approx(100 * stats[1])  # with crowds too


def test_more_than_100_detections_of_a_class_and_boxes_without_area():
    truth, found = as_coco(random_images(3))
    found += [
        d | {"score": d["score"] / 2, "bbox": [*d["bbox"][:3], d["bbox"][3] * w]} for d in found for w in (0.9, 0)
    ]
    for d in found:
        d["image_id"] = 7 if d["category_id"] == 10 else d["image_id"]
    many = [d for d in found for _ in range(4)]
    assert sum(d["category_id"] == 10 for d in many) > 100  # all of one image
    ours, theirs = (coco_stats(truth, many, api)[0] for api in APIS)
    np.testing.assert_array_equal(ours, theirs)


def test_one_error_of_each_kind():
    objects = np.array([[0.0, 0, 100, 100], [200, 0, 300, 100], [0, 200, 100, 300], [200, 200, 300, 300]])
    boxes = np.array(
        [
            [0.0, 0, 100, 100],  # true
            [0, 0, 100, 98],  # duplicate
            [200, 0, 300, 40],  # poor overlap
            [0, 200, 100, 300],  # another class
            [120, 120, 160, 160],  # background
            [200, 250, 300, 330],  # both
        ]
    )
    kinds = np.array([0, 0, 0, 1, 0, 1])
    of_image = boxes, np.linspace(0.9, 0.4, 6), kinds, objects, np.zeros(4, int), np.zeros(4, bool)
    found = tide.match(as_overlaps([of_image]))
    names = [tide.KINDS[k] if k >= 0 else "" for k in found.kind]
    assert names == ["", "Dupe", "Loc", "Cls", "Bkg", "Both"] and found.target[2:4].tolist() == [1, 2]
    assert found.taken.tolist() == [True, False, False, False]
    nothing = tide.match(as_overlaps([(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), *of_image[3:])]))
    assert tide.errors(nothing)["Miss"] == 100 and tide.errors(nothing)["AP50"] == 0


def test_the_confusion_matrix_counts_each_object_and_sure_detection_once():
    objects, kinds = np.array([[0.0, 0, 50, 50], [60, 0, 99, 50], [0, 60, 50, 99]]), np.array([0, 0, 1])
    boxes = np.array([[0.0, 0, 50, 50], [1, 0, 50, 50], [60, 0, 99, 50], [0, 60, 50, 99], [70, 70, 80, 80]])
    found = boxes, np.array([0.9, 0.8, 0.7, 0.4, 0.6]), np.array([0, 0, 1, 1, 1])
    matrix = confusion_matrix(as_overlaps([(*found, objects, kinds, np.array([False, False, False]))]), 2)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]


@pytest.fixture
def registered(tmp_path):
    """The made-up objects as a COCO file with gaps in its ids, registered; and its detections as models give them."""
    truth, _ = as_coco(images := random_images())
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "1.jpg")
    for i in range(2, len(images) + 1):
        (tmp_path / f"{i}.jpg").hardlink_to(tmp_path / "1.jpg")
    file = tmp_path / "val.json"
    file.write_text(json.dumps(truth))
    cfg = default_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.OUTPUT_DIR = (), (str(file),), str(tmp_path / "out")
    resolve_datasets(cfg)
    outputs = []
    for boxes, scores, kinds, *_ in images:
        found = Instances((SIZE, SIZE), pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))
        found.scores, found.pred_classes = torch.tensor(scores), torch.tensor(kinds)
        outputs.append({"instances": found})
    return cfg, outputs


def run(evaluator, name, outputs):
    evaluator.reset()
    evaluator.process(DatasetCatalog.get(name), outputs)
    return evaluator.evaluate()


@pytest.mark.parametrize("api", APIS)
def test_detections_are_written_with_the_datas_own_ids(registered, api, tmp_path):
    cfg, outputs = registered
    (name,) = cfg.DATASETS.TEST
    results = run(BoxCOCOEvaluator(name, tmp_path / "inference", api), name, outputs)["bbox"]
    written = json.loads((tmp_path / "inference" / "coco_instances_results.json").read_text())
    assert {d["category_id"] for d in written} == {10, 20, 30}
    truth = json.loads(Path(name).read_text())
    stats, _ = coco_stats(truth, written, "pycocotools")  # as a server would
    keys = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    np.testing.assert_allclose([results[k] for k in keys], np.where(stats < 0, np.nan, 100 * stats), atol=0.05)
    assert np.nanmean([results[f"AP-{c}"] for c in CLASSES]) == pytest.approx(results["AP"])


def test_all_evaluators_together(registered, tmp_path):
    cfg, outputs = registered
    (name,) = cfg.DATASETS.TEST
    results = run(DetectionTrainer.build_evaluator(cfg, name), name, outputs)
    assert set(results) == {"bbox", "voc", "errors"}
    (folder,) = [p.parent for p in (tmp_path / "out").rglob("errors.json")]
    content = json.loads((folder / "errors.json").read_text())
    assert content["confusion"]["classes"] == [*CLASSES, BACKGROUND]
    assert content["dAP50"]["AP50"] == pytest.approx(results["bbox"]["AP50"], abs=0.05)
    assert results["errors"]["Bkg"] == content["dAP50"]["Bkg"] > 1
    for picture in ("confusion.png", "precision_recall.png"):
        assert Image.open(folder / picture).size[0] > 300


def test_an_image_without_detections_or_objects_is_no_trouble(registered, tmp_path):
    cfg, outputs = registered
    (name,) = cfg.DATASETS.TEST
    empty = Instances((SIZE, SIZE), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    empty.pred_classes = torch.zeros(0, dtype=torch.int64)
    DatasetCatalog.get(name)[0]["annotations"].clear()
    results = run(ErrorAnalysis(name, tmp_path / "e"), name, [{"instances": empty}] * len(outputs))["errors"]
    assert results["Miss"] == 100
    all_empty = run(DetectionTrainer.build_evaluator(cfg, name), name, [{"instances": empty}] * len(outputs))
    assert all_empty["bbox"]["AP"] == 0 == all_empty["bbox"]["AP-a"]


def test_data_without_truth_is_only_predicted(registered, tmp_path):
    cfg, outputs = registered
    truth = json.loads(Path(cfg.DATASETS.TEST[0]).read_text())
    (tmp_path / "test.json").write_text(json.dumps({k: v for k, v in truth.items() if k != "annotations"}))
    cfg.DATASETS.TEST, cfg.DATASETS.CLASSES = (str(tmp_path / "test.json"),), CLASSES
    assert any("20 images without annotations" in line for line in resolve_datasets(cfg))
    (name,) = cfg.DATASETS.TEST
    assert run(DetectionTrainer.build_evaluator(cfg, name), name, outputs) == {}
    found = json.loads(next((tmp_path / "out").rglob("coco_instances_results.json")).read_text())
    assert {d["category_id"] for d in found} == {10, 20, 30}
    lines = next((tmp_path / "out").rglob("comp4_det_test_a.txt")).read_text().splitlines()
    first = next(d for d in found if d["category_id"] == 10)
    x, y, w, h = first["bbox"]
    image, score, *corners = lines[0].split()
    assert image == str(first["image_id"]) and float(score) == pytest.approx(first["score"], abs=1e-6)
    assert [float(c) for c in corners] == pytest.approx([x + 1, y + 1, x + w, y + h], abs=0.06)
