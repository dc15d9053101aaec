"""Images that look alike: copies that were saved again are found, different photographs are not."""

import json
from pathlib import Path

from detection.data.duplicates import compare_sets, hashes, look_alikes, repeated

import numpy as np
import pytest
from PIL import Image
from run_tools import DATA, run_tool

PHOTOGRAPHS = sorted((DATA / "bccd" / "JPEGImages").glob("*.jpg"))
SHARED = DATA.parents[1].parent / "shared" / "data" / "bccd" / "JPEGImages"


def saved_again(path, folder, kind):
    """A copy of a photograph as tools write copies."""
    image = Image.open(path).convert("RGB")
    if kind == "half":
        image = image.resize((image.width // 2, image.height // 2))
    if kind == "square":
        image = image.resize((416, 416))
    copy = folder / f"{path.stem}_{kind}.{'png' if kind == 'png' else 'jpg'}"
    image.save(copy, **({"quality": 40} if kind == "worse" else {}))
    return copy


def test_copies_that_were_saved_again_look_alike(tmp_path):
    copies = [saved_again(path, tmp_path, kind) for path in PHOTOGRAPHS for kind in ("half", "square", "png", "worse")]
    found = compare_sets({"a": list(map(str, PHOTOGRAPHS)), "b": list(map(str, copies))})
    assert len(found["a and b"]) == len(copies) and "a" not in found
    assert all(Path(copy).stem.startswith(Path(original).stem + "_") for original, copy in found["a and b"])
    assert len(found["b"]) == len(copies) - len(PHOTOGRAPHS)


def test_a_photograph_that_lies_on_its_side_looks_like_the_upright_one(tmp_path):
    image = Image.open(PHOTOGRAPHS[0])
    exif = Image.Exif()
    exif[274] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif)
    assert look_alikes(hashes(PHOTOGRAPHS), hashes([tmp_path / "a.jpg"])) == [(0, 0)]


def test_plain_and_broken_images_look_like_nothing(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64), "white").save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"")
    rows = hashes([tmp_path / name for name in ("a.png", "b.png", "c.png", "none.png")])
    assert not rows.any() and repeated(rows) == [] and look_alikes(rows, rows) == []


def test_blocks_give_what_all_pairs_give(monkeypatch):
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((60, 64)) < 0.5, 1, -1).astype(np.float32)
    rows[40:50] = rows[:10]
    rows[45, :5] *= -1  # five bits are too many
    monkeypatch.setattr("detection.data.duplicates._BLOCK", 7)
    expected = [(i, 40 + i) for i in range(10) if i != 5]
    assert repeated(rows) == expected
    assert look_alikes(rows[:40], rows[40:]) == [(i, j - 40) for i, j in expected]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared BCCD photographs")
def test_of_bccds_photographs_two_look_alike():
    """Of 66,066 pairs: the two photographs of one field of view."""
    paths = sorted(SHARED.glob("*.jpg"))
    ((first, second),) = repeated(hashes(paths))
    assert (paths[first].stem, paths[second].stem) == ("BloodImage_00037", "BloodImage_00038")


def test_a_file_of_two_sets_does_not_look_like_itself(tmp_path):
    paths = [str(path) for path in PHOTOGRAPHS[:2]]
    copy = str(saved_again(PHOTOGRAPHS[0], tmp_path, "half"))
    assert compare_sets({"train": paths[:1], "trainval": paths}) == {}
    assert compare_sets({"train": paths[:1], "test": [copy], "trainval": paths})["train and test"] == [[paths[0], copy]]


def test_inspect_reports_copies(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / "d" / split).mkdir(parents=True)
    rows = ["filename,xmin,ymin,xmax,ymax,class"]
    for path in PHOTOGRAPHS:
        (tmp_path / "d" / "train" / path.name).write_bytes(path.read_bytes())
        rows.append(f"{path.name},10,20,99,120,cell")
    copy = saved_again(PHOTOGRAPHS[0], tmp_path / "d" / "valid", "half")
    (tmp_path / "d" / "train" / "_annotations.csv").write_text("\n".join(rows))
    (tmp_path / "d" / "valid" / "_annotations.csv").write_text(f"{rows[0]}\n{copy.name},10,20,99,120,cell\n")
    done = run_tool("inspect_data.py", tmp_path / "d", "--samples", 0, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'd'}:train and {tmp_path / 'd'}:val: 1 images look like another one" in done.stdout
    report = json.loads((tmp_path / "out" / "inspect.json").read_text())
    (pairs,) = report["look_alikes"].values()
    assert [Path(path).name for path in pairs[0]] == [PHOTOGRAPHS[0].name, copy.name]
    assert done.stdout.endswith(f"written to {tmp_path / 'out'}: inspect.json\n")
