"""WebDataset shards: every image once, from any batch on, and what cannot be read."""

import json
import os
import tarfile

from backbones.errors import InputError
from classification.data.datasets import class_names, open_split
from classification.data.loaders import build_train_loader, build_val_loader

import pytest
import torch
from labelled_images import add, jpeg, make_cfg
from run_tools import pretrain


@pytest.fixture
def shards(tmp_path):
    """Four shards of training and two of val, of unequal size, and the names of their classes."""
    for split, sizes in (("train", (8, 9, 7, 8)), ("val", (3, 4))):
        number = 0
        for i, size in enumerate(sizes):
            with tarfile.open(tmp_path / f"{split}-{i:02d}.tar", "w") as archive:
                for _ in range(size):
                    add(archive, f"{number:04d}.png", jpeg((number, 0, 0), kind="PNG"))
                    add(archive, f"{number:04d}.cls", str(number % 2).encode())
                    number += 1
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    opts = ["CLASSIFICATION.DATASET", "webdataset", "CLASSIFICATION.CLASS_LIST", str(tmp_path / "classes.txt")]
    opts += ["CLASSIFICATION.SHARDS.TRAIN", "train-{00..03}.tar", "CLASSIFICATION.SHARDS.VAL", "val-{00..01}.tar"]
    return tmp_path, opts


def test_shards_hold_every_image_once(shards):
    cfg = make_cfg(shards[0], *shards[1])
    assert class_names(cfg) == ("even", "odd")
    assert len(open_split(cfg, "train")) == 32 and len(open_split(cfg, "val")) == 7
    loader = build_val_loader(cfg)
    reds = torch.cat([batch["image"][:, 0].float().mean((1, 2)) for batch in loader])
    assert sorted(reds.round().tolist()) == list(range(7)) and len(loader) == 2
    batches = iter(build_train_loader(cfg))
    seen = torch.cat([next(batches)["image"][:, 0].float().mean((1, 2)) for _ in range(8)]).round()
    assert sorted(seen.tolist()) == list(range(32))  # an epoch
    assert seen.tolist() != sorted(seen.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_go_on_from_any_batch(shards, workers):
    cfg = make_cfg(shards[0], *shards[1], "DATALOADER.NUM_WORKERS", workers)
    whole = [batch["image"] for batch, _ in zip(build_train_loader(cfg), range(13), strict=False)]
    for start in (1, 4, 11):
        rest = [batch["image"] for batch, _ in zip(build_train_loader(cfg, start), range(13 - start), strict=False)]
        assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


@pytest.mark.parametrize("start", range(1, 6))
def test_a_bad_image_in_a_shard_does_not_move_the_others(shards, start):
    with tarfile.open(shards[0] / "train-01.tar", "a") as archive:
        add(archive, "9999.png", b"no image")
        add(archive, "9999.cls", b"0")
    cfg = make_cfg(shards[0], *shards[1])
    whole = [batch["image"] for batch, _ in zip(build_train_loader(cfg), range(10), strict=False)]
    rest = [batch["image"] for batch, _ in zip(build_train_loader(cfg, start), range(10 - start), strict=False)]
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_shards_of_bad_images_alone_end_the_run(shards):
    (shards[0] / "classes.txt").write_text("even\n")  # every odd one has no class
    cfg = make_cfg(shards[0], *shards[1], "CLASSIFICATION.MAX_BAD_IMAGES", 5)
    with pytest.raises(InputError, match="more than CLASSIFICATION"):
        list(zip(build_train_loader(cfg), range(40), strict=False))
    with tarfile.open(shards[0] / "empty.tar", "w"):
        pass
    opts = ["CLASSIFICATION.SHARDS.TRAIN", "empty.tar", "CLASSIFICATION.SHARDS.TRAIN_IMAGES", 5]
    with pytest.raises(InputError, match="hold no images"):
        next(iter(build_train_loader(make_cfg(shards[0], *shards[1], *opts))))


def test_shards_that_cannot_be_read_are_named(shards):
    folder, opts = shards
    for key, value, message in (
        ("SHARDS.TRAIN", "train-{00..09}.tar", "train-04.tar: no such file"),
        ("SHARDS.TRAIN", "pipe:rm -rf /", "shards are files or URLs of"),
        ("SHARDS.TRAIN", "", "name the shards"),
        ("SHARDS.TRAIN", "https://host/train-{00..09}.tar", "TRAIN_IMAGES"),
        ("CLASS_LIST", "", "names of the classes"),
    ):
        with pytest.raises(InputError, match=message):
            open_split(make_cfg(folder, *opts, f"CLASSIFICATION.{key}", value), "train")
    (folder / "broken.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="is each a tar file"):
        open_split(make_cfg(folder, *opts, "CLASSIFICATION.SHARDS.TRAIN", "broken.tar"), "train")
    with pytest.raises(InputError, match="4 shards for 8 readers"):
        next(iter(build_train_loader(make_cfg(folder, *opts, "DATALOADER.NUM_WORKERS", 8))))


def test_shards_are_scanned_and_trained_on(shards, tmp_path):
    folder, opts = shards
    args = ["--data", folder, "OUTPUT_DIR", tmp_path / "out", "DATALOADER.NUM_WORKERS", 0, *opts]
    done = pretrain("--scan", *args)
    assert done.returncode == 0 and "train: 32 images good, 0 bad; 2 of 2 classes" in done.stdout, done.stderr
    tiny = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
    done = pretrain(*args, *tiny, "CLASSIFICATION.EPOCHS", 1, "SOLVER.IMS_PER_BATCH", 8)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_text())["images"] == 7


def test_shards_in_object_storage_come_through_its_own_command(shards, monkeypatch):
    """An `aws` that takes the objects of a bucket from a folder."""
    folder, opts = shards
    command = folder / "bin" / "aws"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n[ "$1 $2 $4" = "s3 cp -" ] && cat "{folder}/${{3##*/}}"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    sizes = ["CLASSIFICATION.SHARDS.TRAIN_IMAGES", 32, "CLASSIFICATION.SHARDS.VAL_IMAGES", 7]
    local, remote = make_cfg(folder, *opts), make_cfg("s3://bucket/images", *opts, *sizes)
    for a, b in zip(build_val_loader(local), build_val_loader(remote), strict=True):
        assert torch.equal(a["image"], b["image"])
    cut = make_cfg("s3://bucket/images", *opts, *sizes, "CLASSIFICATION.SHARDS.VAL", "none.tar")
    with pytest.raises(InputError, match="cannot be read"):
        list(build_val_loader(cut))
