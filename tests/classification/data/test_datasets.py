"""Data sets by name: torchvision's readers, folders, subsets, shards; and the images that cannot be decoded."""

import hashlib
import io
import pickle
import tarfile

from backbones.errors import InputError
from classification.data.datasets import DATASETS, class_names, open_split
from classification.data.examples import Example, TrainingImages
from classification.data.images import BadImage, decode
from classification.data.loaders import build_train_loader, build_val_loader

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets
from labelled_images import add, jpeg, make_cfg
from PIL import Image
from run_tools import assert_clear_error, pretrain


def make_folder(root, classes=("cat", "dog"), count=4):
    for split in ("train", "val"):
        for k, name in enumerate(classes):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                (root / split / name / f"{i}.jpg").write_bytes(jpeg((40 * k, 10 * i, 0)))
    return root


# Decoding


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_every_common_kind_of_file_decodes_as_pil_has_it(kind):
    data = jpeg((200, 100, 50), kind=kind)
    expected = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
    assert (decode(data, "a").int() - expected.int()).abs().max() <= 1


def test_grey_and_cmyk_become_rgb():
    for mode in ("L", "CMYK"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (90, 90, 90)).convert(mode).save(file, "JPEG")
        assert decode(file.getvalue(), "a").shape == (3, 8, 8)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff nothing", jpeg((1, 2, 3), (64, 64))[:-60], b"<html></html>"])
def test_what_is_damaged_is_named(data):
    with pytest.raises(BadImage, match=r"bad\.jpg: cannot be decoded as an image \(.+\)"):
        decode(data, "bad.jpg")


def test_an_absurdly_large_image_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(BadImage, match="decompression bomb"):
        decode(jpeg((1, 2, 3)), "bomb.jpg")


# Folders and subsets


def test_bad_folders_are_named(tmp_path):
    for data, message in (
        ("", "--data: name the folder"),
        (tmp_path / "none", "no folder; check the path"),
        (tmp_path, "has no folder train/"),
    ):
        with pytest.raises(InputError, match=message):
            open_split(make_cfg(data), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="must hold CLASS"):
        open_split(make_cfg(tmp_path), "train")
    with pytest.raises(InputError, match=r"'imagnet' is none of cifar10, .*, webdataset"):
        open_split(make_cfg(tmp_path, "CLASSIFICATION.DATASET", "imagnet"), "train")


def test_a_class_list_takes_a_part_in_its_own_order(tmp_path):
    make_folder(tmp_path, ("cat", "cow", "dog"))
    (tmp_path / "list.txt").write_text("dog\ncat\n\n")
    for file in (tmp_path / "val" / "cat").glob("*"):
        file.unlink()
    cfg = make_cfg(tmp_path, "CLASSIFICATION.CLASS_LIST", str(tmp_path / "list.txt"))
    assert class_names(cfg) == ("dog", "cat")
    train, val = open_split(cfg, "train"), open_split(cfg, "val")
    assert train.labels() == [1] * 4 + [0] * 4 and set(val.labels()) == {0}
    (tmp_path / "list2.txt").write_text("dog\ndog\n")
    cfg.CLASSIFICATION.CLASS_LIST = str(tmp_path / "list2.txt")
    with pytest.raises(InputError, match="dog comes twice"):
        open_split(cfg, "train")
    cfg.CLASSIFICATION.CLASS_LIST = str(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        open_split(cfg, "train")


# torchvision's readers, on files of their format


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar_as_its_authors_publish_it(name, folder, tmp_path, monkeypatch):
    reader = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    key, label = ("label_names", "labels") if name == "cifar10" else ("fine_label_names", "fine_labels")
    classes = [f"class{i}" for i in range(10)]
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    (tmp_path / folder).mkdir()
    files = {"train": {"data": pixels, label: list(range(6))}, "test": {"data": pixels[:3], label: [3, 2, 1]}}
    for file, content in [*files.items(), ("meta", {key: classes})]:
        (tmp_path / folder / file).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(reader, "train_list", [["train", None]])
    monkeypatch.setattr(reader, "test_list", [["test", None]])
    monkeypatch.setattr(reader, "meta", {"filename": "meta", "key": key, "md5": None})
    cfg = make_cfg(tmp_path, "CLASSIFICATION.DATASET", name)
    assert class_names(cfg) == tuple(classes)
    image, label = open_split(cfg, "train").load(4)
    assert label == 4 and torch.equal(image, torch.from_numpy(pixels[4].reshape(3, 32, 32)))
    assert open_split(cfg, "val").labels() == [3, 2, 1]


def test_data_that_is_not_there_can_be_fetched(tmp_path):
    with pytest.raises(InputError, match="--download fetches it"):
        open_split(make_cfg(tmp_path, "CLASSIFICATION.DATASET", "cifar10"), "train")


def test_svhn_trains_on_train_and_extra(tmp_path, monkeypatch):
    counts = {"train": 3, "extra": 5, "test": 2}
    for part, count in counts.items():
        images = np.full((32, 32, 3, count), count, dtype=np.uint8)
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": np.full((count, 1), 10)})
    split_list = {part: ["", f"{part}_32x32.mat", None] for part in counts}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda *_: True)
    cfg = make_cfg(tmp_path, "CLASSIFICATION.DATASET", "svhn")
    train = open_split(cfg, "train")
    assert len(train) == 8 and len(open_split(cfg, "val")) == 2
    assert train.load(0)[0].shape == (3, 32, 32) and train.load(7)[0].unique().tolist() == [5]
    assert set(train.labels()) == {0} and train.classes == tuple("0123456789")  # the file calls zero 10


def test_imagenet_from_its_archives(tmp_path, monkeypatch):
    wnids = ["n02", "n01"]
    synsets = np.array(
        [(i + 1, wnid, f"word {wnid}", "gloss", 0, np.array([]), 0, 0) for i, wnid in enumerate(wnids)],
        dtype=[(k, object) for k in ("ID", "WNID", "words", "gloss", "num_children", "children", "height", "images")],
    )
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets.reshape(-1, 1)})
    names = {"devkit": "ILSVRC2012_devkit_t12.tar.gz", "train": "ILSVRC2012_img_train.tar"}
    names["val"] = "ILSVRC2012_img_val.tar"
    with tarfile.open(tmp_path / names["devkit"], "w:gz") as archive:
        add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(archive, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", b"2\n1\n2\n")
    with tarfile.open(tmp_path / names["train"], "w") as archive:
        for wnid in wnids:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as images:
                add(images, f"{wnid}_0.JPEG", jpeg((9, 9, 9)))
            add(archive, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(tmp_path / names["val"], "w") as archive:
        for i in (1, 2, 3):
            add(archive, f"ILSVRC2012_val_0000000{i}.JPEG", jpeg((i, i, i)))
    hashes = {k: (v, hashlib.md5((tmp_path / v).read_bytes()).hexdigest()) for k, v in names.items()}
    monkeypatch.setattr(torchvision.datasets.imagenet, "ARCHIVE_META", hashes)
    cfg = make_cfg(tmp_path, "CLASSIFICATION.DATASET", "imagenet")
    assert class_names(cfg) == ("n01", "n02")
    assert open_split(cfg, "train").labels() == [0, 1]
    assert open_split(cfg, "val").labels() == [0, 0, 1]  # n01 has the ILSVRC id 2
    with pytest.raises(InputError, match="devkit"):
        open_split(make_cfg(tmp_path / "val", "CLASSIFICATION.DATASET", "imagenet"), "val")


# Bad images


def test_bad_images_are_skipped_named_and_counted(tmp_path, caplog):
    make_folder(tmp_path)
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(b"no image")
    cfg = make_cfg(tmp_path, "CLASSIFICATION.MAX_BAD_IMAGES", 1)
    batches = iter(build_train_loader(cfg))
    with caplog.at_level("WARNING", logger="residet"):
        images = [next(batches)["image"] for _ in range(8)]
    assert all(len(image) == 4 for image in images)
    assert sum("0.jpg: cannot be decoded" in r.getMessage() for r in caplog.records) == 1
    assert "skipped, 1 so far" in caplog.text
    cfg.CLASSIFICATION.MAX_BAD_IMAGES = 0
    with pytest.raises(InputError, match=r"1 images cannot be decoded, more than .*MAX_BAD_IMAGES 0"):
        list(zip(build_train_loader(cfg), range(8), strict=False))


def test_nothing_but_bad_images_ends_the_run(tmp_path):
    make_folder(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="10 images in a row cannot be decoded"):
        TrainingImages(open_split(make_cfg(tmp_path), "train"), Example(torch.nn.Identity()), 0)[0, 0]
    with pytest.raises(BadImage, match=r"val/cat/0\.jpg"):
        next(iter(build_val_loader(make_cfg(tmp_path))))


def test_scan_lists_them(tmp_path):
    make_folder(tmp_path / "data")
    args = ["--data", tmp_path / "data", "--scan", "OUTPUT_DIR", tmp_path / "out", "DATALOADER.NUM_WORKERS", 0]
    good = pretrain(*args)
    assert good.returncode == 0, good.stderr
    assert "train: 8 images good, 0 bad; 2 of 2 classes, 4 to 4 images each" in good.stdout
    (tmp_path / "data" / "val" / "dog" / "1.jpg").write_bytes(b"")
    bad = pretrain(*args)
    assert_clear_error(bad, "1 bad images", "bad_images.txt")
    assert "val: 7 images good, 1 bad" in bad.stdout
    (line,) = (tmp_path / "out" / "scan" / "bad_images.txt").read_text().splitlines()
    assert "dog/1.jpg: cannot be decoded" in line


def test_every_data_set_has_its_words():
    assert all(reader.__doc__ for _, reader in DATASETS)
