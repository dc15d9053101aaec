"""The training order of detectors: found again by place, whatever the workers; and proposals from files."""

import itertools
from collections import Counter
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import save_checkpoint
from detection.config import default_config
from detection.data.catalog import resolve_datasets
from detection.data.loader import GroupedBatches, build_test_loader, build_train_loader, training_records
from detection.data.proposals import attach_proposals, read_proposals, write_proposals
from residet.engine.loaders import PositionSampler

import numpy as np
import pytest
import scipy.io
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.samplers import TrainingSampler
from detectron2.structures import Boxes, Instances


@pytest.fixture
def cfg(shapes):
    cfg = default_config()
    cfg.DATASETS.TRAIN = (str(shapes / "annotations" / "train.json"),)
    cfg.DATASETS.TEST = (str(shapes / "annotations" / "val.json"),)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = (64, 96), 4, 0
    cfg.INPUT.ALBUMENTATIONS = [{"D4": {}}, {"RandomCrop": {"height": 90, "width": 90}}]
    cfg.MODEL.DEVICE = "cpu"
    resolve_datasets(cfg)
    return cfg


def batches(cfg, count, start=0):
    return list(itertools.islice(build_train_loader(cfg, start), count))


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert [e["file_name"] for e in a] == [e["file_name"] for e in b]
        for x, y in zip(a, b, strict=True):
            assert torch.equal(x["image"], y["image"])
            assert torch.equal(x["instances"].gt_boxes.tensor, y["instances"].gt_boxes.tensor)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ["TrainingSampler", "RepeatFactorTrainingSampler"])
def test_a_later_start_sees_what_an_earlier_one_would(cfg, workers, sampler):
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.REPEAT_THRESHOLD, cfg.SOLVER.ACCUMULATE = sampler, 0.9, 2
    whole = batches(cfg, 16)
    cfg.DATALOADER.NUM_WORKERS = workers
    np.random.seed(7)  # nor do the process's own random numbers count
    assert_same(whole[10:], batches(cfg, 6, start=5))
    assert len(whole[0]) == 2 and len({str(e["image"].shape) for b in whole for e in b}) > 1


def test_batches_are_of_wide_images_or_of_tall_ones():
    wide = [True, False, True, True, False, False, True]

    def stream():
        return PositionSampler(TrainingSampler(len(wide), seed=0), 0)

    found = list(itertools.islice(GroupedBatches(stream(), wide, 2, 0), 40))
    assert all(wide[a] == wide[b] for (_, a), (_, b) in found)
    positions = sorted(p for batch in found for p, _ in batch)
    assert len(set(positions)) == 80 and positions[-1] < 84  # no more than the two that wait are left out
    assert list(itertools.islice(GroupedBatches(stream(), wide, 2, 25), 15)) == found[25:]


def test_rare_classes_come_more_often(cfg):
    cfg.INPUT.ALBUMENTATIONS = []
    records = training_records(cfg)
    images = Counter(k for r in records for k in {a["category_id"] for a in r["annotations"]})
    rare = min(images, key=images.get)

    def share(sampler):
        cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.REPEAT_THRESHOLD = sampler, 1.0
        seen = [e for b in batches(cfg, 60) for e in b]
        return np.mean([rare in e["instances"].gt_classes.tolist() for e in seen])

    assert share("RepeatFactorTrainingSampler") > 1.15 * share("TrainingSampler") > 0


def test_records_are_held_as_bytes_that_workers_share(cfg):
    data = build_train_loader(cfg).loader.dataset
    # Made anew at each access: the reference counts of a list's objects would copy its pages into each worker.
    assert data.records[3] is not data.records[3]
    assert data.records[3]["file_name"] == training_records(cfg)[3]["file_name"]


def test_difficult_objects_can_be_left_out(cfg):
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    for record in records:
        record["annotations"][0]["difficult"] = 1
    every = sum(len(r["annotations"]) for r in training_records(cfg))
    cfg.DATASETS.TRAIN_ON_DIFFICULT = False
    easy = [a for r in training_records(cfg) for a in r["annotations"]]
    assert 0 < len(easy) == every - len(records) and not any(a.get("difficult") for a in easy)


def test_boxes_that_are_cropped_away_are_counted(cfg, storage):
    cfg.INPUT.ALBUMENTATIONS = [{"RandomCrop": {"height": 24, "width": 24}}]
    list(itertools.islice(build_train_loader(cfg), 5))
    assert sum(v for v, _ in storage.history("data/dropped_boxes").values()) > 0


# Proposals


def proposals_of(records, score=lambda i: float(i)):
    for record in records:
        boxes = [[0.0, 0, 20, 20], *(a["bbox"] for a in record["annotations"])]
        found = Instances((record["height"], record["width"]), proposal_boxes=Boxes(torch.tensor(boxes)))
        found.objectness_logits = torch.tensor([score(i) for i in range(len(boxes))])
        yield record["image_id"], found


def test_proposals_follow_the_image(cfg, tmp_path):
    (train,), (test,) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    cfg.MODEL.LOAD_PROPOSALS, files = True, []
    for name in (train, test):
        files.append(str(tmp_path / f"{len(files)}.pth"))
        write_proposals(proposals_of(DatasetCatalog.get(name)), files[-1])
    cfg.DATASETS.PROPOSAL_FILES_TRAIN, cfg.DATASETS.PROPOSAL_FILES_TEST = (files[0],), (files[1],)
    cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 2
    cfg.INPUT.ALBUMENTATIONS = [{"D4": {"p": 1.0}}]
    for example in (e for b in batches(cfg, 6) for e in b):
        truth = example["instances"].gt_boxes.tensor
        found = example["proposals"]
        assert found.objectness_logits.tolist() == sorted(found.objectness_logits.tolist(), reverse=True)
        best = found.proposal_boxes.tensor[: len(truth)].flip(0)  # all but the first were objects, turned with them
        assert torch.allclose(best, truth, atol=1e-3)
    for (example,) in build_test_loader(cfg, test):
        assert len(example["proposals"]) == min(2, 1 + len(DatasetCatalog.get(test)[0]["annotations"]))


def pickled(content, path):
    import pickle

    path.write_bytes(pickle.dumps(content))
    return str(path)


def test_detectron2s_files_are_read(tmp_path):
    content = {"ids": [3], "boxes": [np.array([[1, 2, 10, 20]], np.float32)], "scores": [np.array([0.5], np.float32)]}
    boxes, scores = read_proposals(pickled(content | {"bbox_mode": 1}, tmp_path / "p.pkl"))
    assert boxes[3].tolist() == [[1, 2, 11, 22]] and scores[3].tolist() == [0.5]


def test_attractionets_folder_is_read(cfg, tmp_path):
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    for record in records:
        rows = np.array([[1, 1, 20, 30, 0.2], [5, 6, 128, 128, 0.7]], np.float32)
        scipy.io.savemat(tmp_path / f"{Path(record['file_name']).stem}.mat", {"boxes": rows})
    first = attach_proposals(records, str(tmp_path))[0]
    assert first["proposal_boxes"].tolist() == [[4, 5, 128, 128], [0, 0, 20, 30]]
    assert first["proposal_objectness_logits"].tolist() == pytest.approx([0.7, 0.2])
    last = tmp_path / f"{Path(records[-1]['file_name']).stem}.mat"
    for content, message in ((b"MATLAB", "holds no matrix `boxes`"), (None, "no proposals for 1 of 16 images")):
        last.write_bytes(content) if content else last.unlink()
        with pytest.raises(InputError, match=message):
            attach_proposals(records, str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["ids"].__setitem__(0, 99), "no proposals for 1 of 16 images"),
        (lambda c: c["boxes"][0].__setitem__(0, torch.tensor([0.0, 0, 900, 900])), "beyond its 128x128 pixels"),
        (lambda c: c["boxes"][0].__setitem__(0, torch.tensor([0.0, 0, float("nan"), 9])), "is no number"),
        (lambda c: c["boxes"].pop(), "holds no proposals"),
        (lambda c: c.pop("ids"), "holds no proposals"),
        (lambda c: c["objectness_logits"].__setitem__(0, torch.zeros(40)), r"not \(N, 4\) and \(N,\)"),
        (lambda c: c["boxes"].__setitem__(0, torch.zeros(3)), "are not numbers"),
    ],
)
def test_proposals_of_other_images_are_refused(cfg, tmp_path, change, message):
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    found = list(proposals_of(records))
    content = {"ids": [i for i, _ in found], "boxes": [p.proposal_boxes.tensor for _, p in found]}
    content["objectness_logits"] = [p.objectness_logits for _, p in found]
    change(content)
    save_checkpoint(content, tmp_path / "p.pth")
    with pytest.raises(InputError, match=message):
        attach_proposals(records, str(tmp_path / "p.pth"))
