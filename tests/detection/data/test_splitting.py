"""The split of data that nobody has split: by class, by source, the same for the same seed, and never into the data."""

import json
import random
import shutil
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.reader import ReaderOptions
from detection.data.layouts.sources import data_splits, read_source
from detection.data.source_groups import source_groups
from detection.data.splitting import split_data, stratified

import pytest
from object_files import write_images, write_via
from PIL import Image
from run_tools import DATA


def groups_of(names, longest=100, folder="/none"):
    groups, lines = source_groups([Path(folder, name) for name in names], longest)
    return groups, " ".join(lines)


def test_copies_of_roboflow_and_frames_are_of_one_source():
    copies = [f"a_jpg.rf.{'0123456789abcdef' * 2}.jpg", f"a_jpg.rf.{'fedcba9876543210' * 2}.jpg", "a.jpg"]
    groups, lines = groups_of(copies)
    assert groups == [0, 0, 1] and "2 copies of 1 images" in lines
    groups, lines = groups_of(["video_0001.jpg", "video_0002.jpg", "frame12.png", "frame13.png", "cat.jpg"])
    assert groups == [0, 0, 1, 1, 2] and "2 videos" in lines
    hashed = [f"street_mp4-{i}_jpg.rf.{'ab' * 16}.jpg" for i in range(3)]
    assert groups_of(hashed)[0] == [0, 0, 0]
    assert groups_of(["clip/0001.jpg", "clip/0002.jpg", "other/0001.jpg"])[0] == [0, 0, 1]


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_0001.jpg", "IMG_0002.jpg"],
        ["raccoon-1.jpg", "raccoon-2.jpg"],
        ["000001.jpg", "000002.jpg"],
        ["BloodImage_00001.jpg", "BloodImage_00002.jpg"],
        ["a.rf.jpg", "a.jpg"],
        ["framed1.jpg", "framed2.jpg"],
    ],
)
def test_numbered_photographs_are_not_frames(names):
    assert groups_of(names)[0] == [0, 1]


def test_a_long_video_is_cut_into_runs_of_frames():
    names = [f"frame_{i}.jpg" for i in range(100)]
    random.Random(0).shuffle(names)
    groups, lines = groups_of(names, longest=10)
    numbers = {g: sorted(int(n[6:-4]) for n, h in zip(names, groups, strict=True) if h == g) for g in set(groups)}
    assert sorted(numbers.values()) == [list(range(i, i + 10)) for i in range(0, 100, 10)]
    assert "1 of them cut into runs" in lines


def test_identical_files_are_of_one_source(tmp_path):
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("c.png", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    groups, lines = groups_of(["a.png", "b.png", "c.png"], folder=tmp_path)
    assert groups == [0, 1, 0] and "1 files with the content of another" in lines


@pytest.mark.parametrize("seed", range(20))
def test_each_class_of_two_sources_is_in_both_parts(seed):
    """On random data with rare classes: the parts are disjoint in sources, near the share, and hold every class."""
    rng = random.Random(seed)
    count = rng.randint(8, 60)
    groups = [rng.randrange(count) for _ in range(3 * count)]
    numbers = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    groups = [numbers[g] for g in groups]
    kinds = {g: {f"c{min(int(rng.expovariate(0.5)), 9)}" for _ in range(rng.randint(0, 3))} for g in set(groups)}
    classes = [kinds[g] or {None} for g in groups]
    in_test = stratified(groups, classes, 0.2, seed)
    for g in set(groups):
        assert len({t for t, h in zip(in_test, groups, strict=True) if h == g}) == 1
    for c in {c for image in classes for c in image}:
        held = {g for g, image in zip(groups, classes, strict=True) if c in image}
        parts = {t for t, image in zip(in_test, classes, strict=True) if c in image}
        assert len(parts) == min(len(held), 2)
    assert abs(sum(in_test) / len(groups) - 0.2) < 0.12
    assert in_test == stratified(groups, classes, 0.2, seed)


def test_the_seed_chooses_the_test_images():
    groups, classes = list(range(100)), [{"a"}] * 100
    first, second = (stratified(groups, classes, 0.25, seed) for seed in (0, 1))
    assert sum(first) == sum(second) == 25 and first != second


@pytest.fixture
def unsplit(tmp_path):
    """Ten copies of a small set, which nobody has split."""
    root = tmp_path / "data"
    write_images(root)
    content = json.loads(write_via(root / "via.json").read_text())
    entries = {}
    for i in range(10):
        for key, entry in content.items():
            name = f"{i} {entry['filename']}"
            Image.new("RGB", (60, 40), (i, 90, len(entries))).save(root / name)
            entries[f"{i} {key}"] = entry | {"filename": name}
    (root / "via.json").write_text(json.dumps(entries))
    return root


def split(root, out, **options):
    options = {"share": 0.2, "seed": 0, "keep": False} | options
    return split_data(data_splits(str(root))[0], out / "splits", ReaderOptions(), **options)


def images(name):
    return {Path(r["file_name"]).name for r in read_source(name, Defects(), ReaderOptions()).records}


def test_both_parts_are_read_by_the_names_of_their_lists(unsplit, tmp_path, monkeypatch):
    before = sorted(unsplit.rglob("*"))
    assert data_splits(str(unsplit)) == (f"{unsplit}:all", "")
    train, val, lines = split(unsplit, tmp_path / "run")
    assert "7 of its 40 images (18%) are for the test" in lines[0]  # 20 % as nearly as whole images of each class allow
    whole = images(f"{unsplit}:all")
    assert images(train) | images(val) == whole and not images(train) & images(val) and len(images(val)) == 7
    assert sorted(unsplit.rglob("*")) == before
    assert split(unsplit, tmp_path / "other")[2] != lines and images(
        str(tmp_path / "other/splits/val.split.json")
    ) == images(val)
    monkeypatch.chdir(unsplit)  # the lists hold absolute paths
    assert len(images(val)) == 7
    assert split(".", tmp_path / "run", keep=True, seed=5) == (train, val, [])


def test_what_cannot_be_split_is_refused(unsplit, tmp_path):
    _, val, _ = split(unsplit, tmp_path / "run")
    with pytest.raises(InputError, match=r"train\.split\.json: is a part of .*data:all, not of"):
        split(shutil.copytree(unsplit, tmp_path / "copy"), tmp_path / "run", keep=True)
    with pytest.raises(InputError, match=r"VAL_SHARE: 1\.5 must be between 0 and 1"):
        split(unsplit, tmp_path / "run", share=1.5)
    lost = min(images(val))
    content = json.loads((unsplit / "via.json").read_text())
    content = {key: entry for key, entry in content.items() if entry["filename"] != lost}
    (unsplit / "via.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"val\.split\.json: 1 of its 7 images are no longer in .*first: {lost}"):
        read_source(val, Defects(), ReaderOptions())
    (tmp_path / "bad.split.json").write_text("[1]")
    with pytest.raises(InputError, match=r"bad\.split\.json: has no text `source`"):
        read_source(str(tmp_path / "bad.split.json"), Defects(), ReaderOptions())
    one = tmp_path / "one"
    write_images(one)
    (one / "via.json").write_text(json.dumps({"a": {"filename": "a.jpg", "regions": []}}))
    with pytest.raises(InputError, match="are of one source, and cannot be split"):
        split(one, tmp_path / "run")


def test_a_folder_with_training_data_alone_is_split(tmp_path):
    for name in ("Annotations", "JPEGImages"):
        shutil.copytree(DATA / "bccd" / name, tmp_path / "bccd" / name)
    lists = tmp_path / "bccd" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    ids = [path.stem for path in sorted((tmp_path / "bccd" / "Annotations").glob("*.xml"))]
    (lists / "train.txt").write_text("\n".join(ids))
    train, test = data_splits(str(tmp_path / "bccd"))
    assert train.endswith(":train") and test == ""
    _, val, _ = split(tmp_path / "bccd", tmp_path / "run", share=0.5)
    assert 0 < len(images(val)) < len(ids)
