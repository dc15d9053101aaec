"""The Predictor against an evaluation of the same checkpoint, from every kind of image, and from several threads."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from detection import Predictor

import numpy as np
import pytest
import torch
from PIL import Image
from run_tools import train_net


@pytest.fixture(scope="module")
def predict(detector_run):
    return Predictor(detector_run / "model_final.pth")


@pytest.fixture(scope="module")
def images(shapes):
    return sorted((shapes / "images" / "val").glob("*.png"))


def assert_same(one, other, pixels=0.1, score=1e-4):
    """The same detections; `pixels` and `score` are the largest differences of boxes and scores."""
    assert len(one) == len(other) and one.names == other.names and len(one) > 5
    np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=pixels)
    np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=score)


def evaluated(run, shapes):
    """File name -> what an evaluation detected in the image, in COCO's result format."""
    content = json.loads((shapes / "annotations" / "val.json").read_text())
    found = {image["file_name"].rsplit("/", 1)[-1]: [] for image in content["images"]}
    names = {image["id"]: image["file_name"].rsplit("/", 1)[-1] for image in content["images"]}
    for detection in json.loads(next((run / "inference").rglob("coco_instances_results.json")).read_text()):
        image_id = detection.pop("image_id")
        found[names[image_id]].append(detection)
    return found


def assert_as_evaluated(predict, images, expected):
    for image in images:
        found = predict(image).to_coco("x")
        assert [{k: v for k, v in d.items() if k != "image_id"} for d in found] == expected[image.name]


def test_detections_are_those_of_an_evaluation(predict, images, detector_run, shapes):
    expected = evaluated(detector_run, shapes)
    scores = [d["score"] for found in expected.values() for d in found]
    assert len(scores) > 50 and max(scores) - min(scores) > 0.2  # else the test would show little
    assert_as_evaluated(predict, images, expected)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"tiles": 72}, ["TEST.TILES.SIZE", 72]),
        pytest.param(
            {"augmentation": True},
            ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "(96,112)"],
            marks=pytest.mark.slow,
        ),
        ({"score_threshold": 0.3}, ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.3]),
    ],
)
def test_ways_of_testing_are_those_of_an_evaluation(arguments, options, images, detector_run, shapes, tmp_path):
    weights = detector_run / "model_final.pth"
    args = ["--config-file", detector_run / "config.yaml", "--eval-only", "--weights", weights]
    done = train_net(*args, *options, "OUTPUT_DIR", tmp_path / "eval")
    assert done.returncode == 0, done.stderr
    further = options[2:] if "augmentation" in arguments else []
    predict = Predictor(weights, **arguments, options=further)
    expected = evaluated(tmp_path / "eval", shapes)
    assert any(expected.values())
    assert_as_evaluated(predict, images, expected)


def test_every_kind_of_image_gives_the_same(predict, images):
    path = images[0]
    whole = Image.open(path).convert("RGB")
    rgb = np.asarray(whole)
    expected = predict(path)
    assert expected.size == rgb.shape[:2] and len(expected) > 5
    tensor = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    for image, channels in [
        (str(path), None),
        (path.read_bytes(), None),
        (whole, None),
        (rgb, "RGB"),
        (rgb[:, :, ::-1], "BGR"),
        (tensor, "RGB"),
        (tensor.flip(0), "BGR"),
    ]:
        found = predict(image, channels=channels)
        assert np.array_equal(found.boxes, expected.boxes) and np.array_equal(found.scores, expected.scores)
    grey = np.asarray(whole.convert("L"))
    assert np.array_equal(predict(grey).boxes, predict(Image.fromarray(grey)).boxes)


def test_a_checkpoint_of_the_other_order_of_channels_sees_the_same(predict, detector_run, images, tmp_path):
    """A network of BGR images sees an image with swapped channels as one of RGB images sees the image itself."""
    content = read_checkpoint(detector_run / "model_final.pth")
    save_checkpoint(content | {"channel_order": "BGR"}, tmp_path / "bgr.pth")
    rgb = np.asarray(Image.open(images[0]).convert("RGB"))
    swapped = Predictor(tmp_path / "bgr.pth")(rgb, channels="BGR")
    assert np.array_equal(swapped.boxes, predict(images[0]).boxes)


def test_photos_that_lie_on_their_side_are_turned_upright(predict, images):
    upright = Image.open(images[0]).convert("RGB").resize((160, 128))
    lying, file = upright.transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees to the right
    lying.save(file, "PNG", exif=exif)
    expected = predict(upright)
    for image in (file.getvalue(), Image.open(file)):
        found = predict(image)
        assert found.size == (128, 160) and np.array_equal(found.boxes, expected.boxes)


def test_lists_are_batched_by_size_and_keep_their_order(detector_run, images):
    predict = Predictor(detector_run / "model_final.pth", batch_size=2)
    wide = [Image.open(path).convert("RGB").resize((176, 128)) for path in images[:2]]
    given = [images[0], wide[0], images[1], images[2], wide[1]]
    found = predict(given)
    assert isinstance(found, list) and predict([]) == []
    for image, detections in zip(given, found, strict=True):
        assert_same(detections, predict(image))
    assert [len(d) for d in predict.stream(iter(given))] == [len(d) for d in found]


def test_boxes_are_in_pixels_of_the_given_image(predict, images):
    small = Image.open(images[0]).convert("RGB")
    width, height = small.size
    one, other = predict(small), predict(small.resize((width * 7 // 8, height * 7 // 8), Image.Resampling.BILINEAR))
    # 112 pixels are what the network takes: both images look the same to it.
    assert other.size == (112, 112) and one.size == (128, 128)
    assert_same(other, predict(small.resize((112, 112), Image.Resampling.BILINEAR)))
    np.testing.assert_allclose(one.boxes * 7 / 8, other.boxes, atol=0.01)


def test_several_threads_get_what_one_gets(predict, images):
    expected = [predict(path) for path in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predict, images * 4))
    for i, detections in enumerate(found):
        assert np.array_equal(detections.boxes, expected[i % len(images)].boxes)
        assert np.array_equal(detections.scores, expected[i % len(images)].scores)


def test_only_the_classes_that_were_asked_for(predict, detector_run, images):
    everything = [predict(path) for path in images]
    chosen = max(everything, key=len).names[0]
    only = Predictor(detector_run / "model_final.pth", classes=[chosen.upper()])
    for path, found in zip(images, everything, strict=True):
        assert only(path).names == [name for name in found.names if name == chosen]
    with pytest.raises(InputError, match="classes: cat: the detector has cross, disk, square, star, triangle"):
        Predictor(detector_run / "model_final.pth", classes=["cat"])


def test_a_lower_threshold_finds_more_than_the_checkpoint_s(predict, detector_run, images):
    more = Predictor(detector_run / "model_final.pth", score_threshold=0.01)(images[0])
    assert len(more) > len(predict(images[0])) and more.scores.min() < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "device: 'gpu' is no device"),
        ({"score_threshold": 50}, "score_threshold: 50 is no score"),
        ({"batch_size": 0}, "batch_size"),
        ({"tiles": 64, "augmentation": True}, "TEST.AUG.ENABLED and TEST.TILES.SIZE: are set together"),
        ({"options": ["INPUT.FORMT", "BGR"]}, "did you mean INPUT.FORMAT"),
    ],
)
def test_arguments_that_cannot_be_used(detector_run, arguments, message):
    with pytest.raises(InputError, match=message):
        Predictor(detector_run / "model_final.pth", **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a GPU")
def test_a_gpu_that_is_not_there(detector_run):
    with pytest.raises(InputError, match="device: cuda was asked for, but torch finds no GPU"):
        Predictor(detector_run / "model_final.pth", device="cuda")


def test_images_that_cannot_be_used(predict, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    pixels = np.zeros((8, 8, 3), np.uint8)
    for image, channels, message in [
        (tmp_path / "none.jpg", None, r"none\.jpg: is missing"),
        (tmp_path / "broken.jpg", None, r"broken\.jpg: cannot be decoded"),
        (np.zeros((4, 900, 3), np.uint8), "RGB", "image: is 900x4 pixels"),
        (b"nothing", None, "its 7 bytes cannot be decoded"),
        (pixels, None, "channels: None does not say the order"),
        (pixels, "GBR", "channels: 'GBR' does not say the order"),
        (pixels.astype(np.float32), "RGB", "holds float32"),
        (np.zeros((8, 8, 4), np.uint8), "RGB", r"has the shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), "RGB", r"has the shape \(0, 8, 3\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), "RGB", r"has the shape \(8, 8, 3\); pass a tensor \(3, H, W\)"),
    ]:
        with pytest.raises(InputError, match=message):
            predict(image, channels)
    with pytest.raises(InputError, match="int is none of a path"):
        predict([3])


def test_an_older_checkpoint_says_what_it_lacks(detector_run, images, tmp_path, predict):
    content = read_checkpoint(detector_run / "model_final.pth")
    del content["config"]
    save_checkpoint(content, tmp_path / "old.pth")
    with pytest.raises(InputError, match=r"old\.pth: does not say how its detector is built; name its config"):
        Predictor(tmp_path / "old.pth")
    with_config = Predictor(detector_run / "config.yaml", tmp_path / "old.pth")
    assert np.array_equal(with_config(images[0]).boxes, predict(images[0]).boxes)


def test_detectors_that_do_not_detect_alone_are_refused(detector_run):
    for options, message in [
        (["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "is an RPN"),
        (["MODEL.LOAD_PROPOSALS", True, "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "needs proposals"),
    ]:
        with pytest.raises(InputError, match=message):
            Predictor(detector_run / "model_final.pth", options=options)
