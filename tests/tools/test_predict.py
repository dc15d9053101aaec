"""tools/predict.py as a user runs it: what it writes, how it goes on, and what it refuses."""

import csv
import json
import shutil

from detection import Predictor

import cv2
import numpy as np
import pytest
from PIL import Image
from run_tools import assert_clear_error, run_tool

SCORE = 0.2


@pytest.fixture(scope="module")
def weights(detector_run):
    return detector_run / "model_final.pth"


@pytest.fixture
def folder(shapes, tmp_path):
    """A folder of images whose names are of all kinds, in two subfolders."""
    names = ["a/0.png", "a/größe 図.png", "b/0.png"]
    for name, source in zip(names, sorted((shapes / "images" / "val").glob("*.png")), strict=False):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "in" / name)
    return tmp_path / "in"


def predict(weights, *inputs, out, options=("--no-pictures",)):
    return run_tool("predict.py", weights, *inputs, "--output", out, "--score", SCORE, *options)


def results(out):
    return json.loads((out / "predictions.json").read_text())


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_of_images(weights, folder, tmp_path):
    before, out = content(folder), tmp_path / "out"
    done = predict(weights, folder, out=out, options=())
    assert done.returncode == 0, done.stderr
    names = ["a/0.png", "a/größe 図.png", "b/0.png"]
    together = Predictor(weights, score_threshold=SCORE)([folder / name for name in names])  # in one batch, as the tool
    found = dict(zip(names, together, strict=True))
    expected = [detection for name in names for detection in found[name].to_coco(name)]
    assert expected and results(out) == expected
    rows = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8")))
    assert [(row["image"], row["class"]) for row in rows] == [(name, c) for name in names for c in found[name].names]
    assert float(rows[0]["x1"]) == pytest.approx(found[rows[0]["image"]].boxes[0, 2], abs=0.01)
    assert f"3 images, {len(expected)} objects (" in done.stdout
    assert content(folder) == before
    pictures = [str(p.relative_to(out / "pictures")) for p in (out / "pictures").rglob("*.png")]
    assert sorted(pictures) == sorted(names)
    name = max(names, key=lambda n: len(found[n]))
    drawn = np.asarray(Image.open(out / "pictures" / name).convert("RGB"), dtype=int)
    plain = np.asarray(Image.open(folder / name).convert("RGB"), dtype=int)
    assert drawn.shape == plain.shape and (np.abs(drawn - plain) > 50).any()


def test_a_stopped_run_goes_on(weights, folder, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert predict(weights, folder, out=whole).returncode == 0
    lines = (whole / "done.jsonl").read_bytes().splitlines(keepends=True)
    out.mkdir()
    shutil.copy(whole / "settings.json", out)
    marked = json.loads(lines[0])
    marked["detections"] = marked["detections"][:1]  # shows that the image is not looked at again
    (out / "done.jsonl").write_bytes(json.dumps(marked).encode() + b"\n" + lines[1][:20])
    assert predict(weights, folder, out=out).returncode == 0
    first = [d for d in results(out) if d["image_id"] == marked["image"]]
    assert len(first) == len(marked["detections"])
    assert [d for d in results(out) if d not in first] == [
        d for d in results(whole) if d["image_id"] != marked["image"]
    ]
    journal = (out / "done.jsonl").read_bytes()
    assert predict(weights, folder, out=out).returncode == 0
    assert (out / "done.jsonl").read_bytes() == journal


def test_a_broken_image_is_named_and_passed_over(weights, folder, tmp_path):
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    out = tmp_path / "out"
    done = predict(weights, folder, out=out)
    assert_clear_error(done, "1 of 4 images could not be read", "broken.jpg", "3 images")
    assert {d["image_id"] for d in results(out)} <= {"a/0.png", "a/größe 図.png", "b/0.png"} and results(out)
    shutil.copy(folder / "a" / "0.png", folder / "a" / "broken.jpg")  # the user replaces the image
    done = predict(weights, folder, out=out)
    assert done.returncode == 0 and "4 images" in done.stdout


def test_files_and_patterns(weights, folder, tmp_path):
    done = predict(weights, folder / "b" / "0.png", f"{folder}/**/0.png", out=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 images" in done.stdout  # the file that both arguments mean counts once


def test_folders_of_others_are_left_alone(weights, folder, tmp_path):
    image, foreign = folder / "a" / "0.png", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    assert_clear_error(predict(weights, image, out=foreign), "--output", "holds no predictions")
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]
    assert_clear_error(predict(weights, folder, out=folder / "found"), "lies in the input folder")
    assert_clear_error(predict(weights, folder, out=tmp_path), "--output", "holds the input")
    assert_clear_error(predict(weights, image, out=folder / "a"), "--output", "holds the input")
    out = tmp_path / "out"
    assert predict(weights, image, out=out).returncode == 0
    before = content(out)
    other = run_tool("predict.py", weights, image, "--output", out, "--score", 0.3, "--no-pictures")
    assert_clear_error(other, "--output", "holds predictions with another score")
    assert_clear_error(predict(weights, folder, out=out), "holds predictions with another input")
    assert content(out) == before


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["none.jpg"], ["none.jpg: no such image"]),
        (["none/*.jpg"], ["none/*.jpg: holds no image"]),
        (["none.mp4"], ["none.mp4: no such video"]),
        (["camera:x"], ["'x' is no number of a camera"]),
        (["camera:0", "a.jpg"], ["stands alone"]),
        (["camera:97"], ["camera:97: OpenCV finds no camera"]),
    ],
)
def test_inputs_that_are_not_there(inputs, words, weights, tmp_path):
    assert_clear_error(predict(weights, *inputs, out=tmp_path / "out"), *words)
    assert not (tmp_path / "out" / "done.jsonl").exists() or "camera:97" in inputs


@pytest.fixture
def video(folder, tmp_path):
    """Five frames at 5 frames a second."""
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, (128, 128))
    assert writer.isOpened()
    for name in ("a/0.png", "a/0.png", "b/0.png", "b/0.png", "a/0.png"):
        rgb = np.asarray(Image.open(folder / name).convert("RGB").resize((128, 128)))
        writer.write(np.ascontiguousarray(rgb[:, :, ::-1]))
    writer.release()
    return path


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_a_video(weights, video, tmp_path):
    out = tmp_path / "out"
    done = predict(weights, video, out=out, options=())
    assert done.returncode == 0, done.stderr
    source, rate = frames_of(video)
    drawn, drawn_rate = frames_of(out / "pictures" / "film.mp4")
    assert len(drawn) == len(source) == 5 and drawn_rate == rate == 5
    detector = Predictor(weights, score_threshold=SCORE)
    expected = [d for i, f in enumerate(source) for d in detector(f, "BGR").to_coco(f"film.mp4#{i:06}")]
    assert expected and results(out) == expected

    (out / "pictures" / "film.mp4").unlink()
    lines = (out / "done.jsonl").read_bytes().splitlines(keepends=True)
    (out / "done.jsonl").write_bytes(b"".join(lines[:3]))
    assert predict(weights, video, out=out, options=()).returncode == 0
    assert results(out) == expected and len(frames_of(out / "pictures" / "film.mp4")[0]) == 5
    assert sorted(p.name for p in (out / "pictures").iterdir()) == ["film.mp4"]


def test_a_file_that_is_no_video(weights, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"nothing")
    assert_clear_error(predict(weights, tmp_path / "film.mp4", out=tmp_path / "out"), "film.mp4", "cannot open")


def test_the_first_frames_of_a_video_alone(weights, video, tmp_path):
    done = predict(weights, video, out=tmp_path / "out", options=("--no-pictures", "--frames", 2))
    assert done.returncode == 0 and "2 images" in done.stdout
