"""The tools as a user runs them: the way through on tiny data, and every mistake answered by one message and code 2."""

import json
import shutil
import subprocess
import sys

from backbones.weights.files import read_checkpoint
from detection.data.synthetic import SIZE
from tools import pretrain as pretrain_tool
from tools import train_net as train_net_tool

import numpy as np
import pytest
import torch
from forked_ranks import run_ranks
from PIL import Image
from run_tools import PROJECT, assert_clear_error, pretrain, run_tool, start_tool, train_net
from stopped_runs import stopped

CONFIG = PROJECT / "configs" / "demo" / "faster_rcnn_resnet18_fpn.yaml"
TINY = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TRAIN", "(64,)"]
# Two small steps and a threshold of 0 leave many detections, which are what runs are compared by.
TINY += ["INPUT.MIN_SIZE_TEST", 64, "TEST.PICTURES", 1, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
TINY += ["SOLVER.BASE_LR", 1e-4]
CROPS = ["CLASSIFICATION.SIZE", 32, "CLASSIFICATION.RESIZE", 32, "CLASSIFICATION.EPOCHS", 1, "SOLVER.IMS_PER_BATCH", 8]
CROPS += ["DATALOADER.NUM_WORKERS", 0]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")


def detection(data, out, *extra, options=()):
    return ["--config-file", CONFIG, "--data", data, *options, *TINY, "OUTPUT_DIR", out, *extra]


def detect(data, out, *extra, options=()):
    return train_net(*detection(data, out, *extra, options=options))


@pytest.fixture(scope="module")
def pretrained(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained")
    # Long enough for BN to know its statistics: a detector with wild ones detects nothing.
    longer = ["CLASSIFICATION.EPOCHS", 12, "CLASSIFICATION.EVAL_EPOCHS", 0, "SOLVER.BASE_LR", 0.01]
    args = ["--arch", "resnet18", "--data", shapes / "crops", *CROPS, *longer, "OUTPUT_DIR", out]
    done = pretrain(*args)
    assert done.returncode == 0, done.stderr
    return out / "model_final.pth"


@pytest.fixture(scope="module")
def trained(shapes, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    done = detect(shapes, out, "MODEL.WEIGHTS", pretrained)
    assert done.returncode == 0, done.stderr
    assert ": 100 of " in done.stdout
    return out


def test_a_training_leaves_figures_and_pictures(shapes, trained):
    results = json.loads((trained / "results.json").read_text())
    (row,) = results.values()
    assert {"AP", "AP50", "AP75", "VOC AP50", "AP star", "seconds"} <= set(row)
    assert len(list((trained / "pictures").glob("*.png"))) == 1
    checkpoint = read_checkpoint(trained / "model_final.pth")
    assert checkpoint["classes"] == ["cross", "disk", "square", "star", "triangle"]
    assert checkpoint["trainer"]["iteration"] == 1


def detections(run):
    """What a run detected, as rows of image, class, score and box, in an order of its own."""
    found = json.loads(next((run / "inference").rglob("coco_instances_results.json")).read_text())
    assert len(found) > 50
    return sorted([d["image_id"], d["category_id"], d["score"], *d["bbox"]] for d in found)


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_alone_detects_the_same(trained, tmp_path, count):
    """In one process and in two, which torchrun is not needed for: test_two_processes has it."""
    weights = trained / "model_final.pth"
    args = ["--config-file", trained / "config.yaml", "--eval-only", "MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path]
    codes, _ = run_ranks(train_net_tool, args, tmp_path / "printed", count=count)
    assert codes == [0] * count, (tmp_path / "printed.0").read_text()
    np.testing.assert_allclose(detections(tmp_path), detections(trained), atol=1e-3)
    (ours,), (theirs,) = (json.loads((run / "results.json").read_text()).values() for run in (tmp_path, trained))
    assert ours.pop("seconds") > 0 and theirs.pop("seconds") > 0
    assert ours == pytest.approx(theirs, abs=1e-2, nan_ok=True) and "errors/Miss" in ours


def test_evaluation_in_the_folder_of_a_run_leaves_the_run_as_it_was(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    args = ["--config-file", run / "config.yaml", "--eval-only", "MODEL.WEIGHTS", run / "model_final.pth"]
    done = train_net(*args, "OUTPUT_DIR", run)
    assert done.returncode == 0, done.stderr
    assert (run / "eval-1" / "results.json").is_file()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_another_run_is_not_overwritten_but_resumed(shapes, trained, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert_clear_error(detect(shapes, out), "OUTPUT_DIR", "holds another run", "--resume")
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    done = detect(shapes, out, "SOLVER.MAX_ITER", 4, options=["--resume"])
    assert done.returncode == 0, done.stderr
    assert "resumed at iteration 2 of 4" in done.stdout
    assert read_checkpoint(out / "model_final.pth")["trainer"]["iteration"] == 3


@pytest.mark.slow
def test_two_processes(shapes, pretrained, tmp_path):
    """A detector's under torchrun. tests/residet/engine/test_resume.py has a pretraining under torchrun."""
    args = detection(shapes, tmp_path / "d", "MODEL.WEIGHTS", pretrained)
    done = start_tool("train_net.py", *args, launcher=TORCHRUN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d" / "model_final.pth").is_file() and (tmp_path / "d" / "log.txt.rank1").is_file()
    args = ["--arch", "resnet18", "--data", shapes / "crops", *CROPS, "OUTPUT_DIR", tmp_path / "p"]
    codes, _ = run_ranks(pretrain_tool, args, tmp_path / "printed")
    assert codes == [0, 0], (tmp_path / "printed.0").read_text()
    crops = len(list((shapes / "crops" / "val").rglob("*.png")))
    assert json.loads((tmp_path / "p" / "results.json").read_text())["images"] == crops


def test_a_killed_run_resumes(shapes, pretrained, tmp_path):
    """After SIGKILL what `last_checkpoint` names is whole, and the tool goes on from there."""
    args = [*detection(shapes, out := tmp_path / "run"), "SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 2]
    assert stopped([str(a) for a in args], out, "KILL", [["step", 6]], tool="train_net", finish=False) == [-9]
    saved = read_checkpoint(out / (out / "last_checkpoint").read_text())["trainer"]["iteration"]
    done = detect(shapes, out, "SOLVER.MAX_ITER", saved + 3, options=["--resume"])
    assert done.returncode == 0, done.stderr
    assert f"resumed at iteration {saved + 1} of {saved + 3}" in done.stdout


def test_config_that_does_not_exist(shapes):
    done = start_tool("train_net.py", "--config-file", "configs/faster_rcnn_wrn34.yaml", "--data", shapes)
    assert_clear_error(done, "no such config", "did you mean configs/faster_rcnn_wrn34_2.yaml?")


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["SOLVER.BASELR", 1], ["SOLVER.BASELR", "did you mean SOLVER.BASE_LR?"]),
        (["SOLVER.BASE_LR"], ["KEY VALUE pairs", "SOLVER.BASE_LR"]),
        (["SOLVER.MAX_ITER", "many"], ["SOLVER.MAX_ITER"]),
        (["MODEL.BACKBONE.NAME", "build_resnet5_fpn_backbone"], ["unknown arch 'resnet5'", "did you mean resnet50"]),
        (["MODEL.WEIGHTS", "none.pth"], ["none.pth", "no such checkpoint"]),
        (["INPUT.ALBUMENTATIONS", "[{'Flip': {'q': 1}}]"], ["INPUT.ALBUMENTATIONS", "Flip"]),
        (["SOLVER.AMP.DTYPE", "float8"], ["SOLVER.AMP.DTYPE", "bfloat16"]),
    ],
)
def test_bad_config(shapes, tmp_path, opts, words):
    out = tmp_path / "run"
    assert_clear_error(detect(shapes, out, *opts), *words)
    assert not out.exists()


def test_config_with_an_unknown_key_names_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("SOLVER:\n  BASE_RL: 1\n")
    assert_clear_error(train_net("--config-file", tmp_path / "c.yaml"), "c.yaml", "did you mean SOLVER.BASE_LR?")
    (tmp_path / "c.yaml").write_text("SOLVER: !!python/object/apply:os.system [touch pwned]\n")
    assert_clear_error(train_net("--config-file", tmp_path / "c.yaml"), "c.yaml")
    (tmp_path / "c.yaml").write_text("_BASE_: none.yaml\n")
    assert_clear_error(train_net("--config-file", tmp_path / "c.yaml"), "none.yaml")


@pytest.mark.slow
def test_bad_data(shapes, tmp_path):
    assert_clear_error(detect(tmp_path / "none", tmp_path / "run"), "--data", "no folder")
    broken = tmp_path / "broken"
    shutil.copytree(shapes / "annotations", broken / "annotations")
    shutil.copytree(shapes / "images", broken / "images")
    (broken / "images" / "train" / "00003.png").write_bytes(b"\x89PNG nothing")
    for workers in (0, 1):  # a worker's error comes wrapped
        done = detect(broken, tmp_path / f"run{workers}", "DATALOADER.NUM_WORKERS", workers, "SOLVER.MAX_ITER", 40)
        assert_clear_error(done, "00003.png", "cannot be decoded")
    Image.new("RGB", (9, 9)).save(broken / "images" / "train" / "00003.png")
    done = detect(broken, tmp_path / "run2", "SOLVER.MAX_ITER", 40)
    assert_clear_error(done, "00003.png", f"the image is 9x9, its annotation says {SIZE}x{SIZE}")
    assert_clear_error(
        train_net("--config-file", CONFIG, "--train", shapes / "annotations" / "train.json"),
        "coco_2017_val",
        "DETECTRON2_DATASETS",
    )


def test_resume_with_another_network_leaves_the_run_as_it_was(shapes, trained):
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    other = ["MODEL.BACKBONE.NAME", "build_resnet50_fpn_backbone"]
    assert_clear_error(detect(shapes, trained, *other, options=["--resume"]), "holds resnet18, the model is resnet50")
    assert before == {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}


def test_a_run_that_failed_at_its_start_can_be_started_again(shapes, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    out = tmp_path / "run"
    assert_clear_error(detect(shapes, out, "MODEL.WEIGHTS", tmp_path / "bad.pth"), "bad.pth", "missing")
    assert (out / "log.txt").is_file()
    assert detect(shapes, out).returncode == 0


def test_resume_without_a_run(shapes, tmp_path):
    assert_clear_error(detect(shapes, tmp_path / "run", options=["--resume"]), "--resume", "no checkpoint to resume")


def test_more_gpus_than_there_are(shapes, tmp_path):
    assert_clear_error(detect(shapes, tmp_path / "run", options=["--num-gpus", 99]), "--num-gpus", "99 asked for")


def test_a_loss_that_is_not_finite(shapes, tmp_path):
    done = detect(shapes, tmp_path / "run", "SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_ITERS", 0, "SOLVER.MAX_ITER", 9)
    assert_clear_error(done, "not finite at iteration", "learning rate 9.698e+29", "lower SOLVER.BASE_LR")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--arch", "resnext51_32x4d"], ["unknown arch", "did you mean resnext50_32x4d"]),
        (["--data", "/nowhere"], ["--data", "/nowhere"]),
        (["--config-file", "none.yaml"], ["none.yaml", "no such config"]),
        (["--eval-only"], ["--eval-only", "--weights FILE"]),
    ],
)
def test_pretrain_mistakes(shapes, args, words):
    data = [] if "--data" in args else ["--data", shapes / "crops"]
    assert_clear_error(pretrain(*data, *args), *words)


def test_pretrain_refuses_weights_of_another_arch(shapes, pretrained, tmp_path):
    args = ["--arch", "resnet50", "--data", shapes / "crops", *CROPS, "OUTPUT_DIR", tmp_path / "run"]
    assert_clear_error(pretrain(*args, "MODEL.WEIGHTS", pretrained), "holds resnet18, the model is resnet50")


def test_doctor_says_what_there_is():
    done = run_tool("doctor.py")
    assert done.returncode == 0, done.stdout
    for word in (
        "python",
        "torch",
        "torchvision",
        "CUDA",
        "detectron2",
        "fvcore",
        "pycocotools",
        "albumentations",
        "cpu",
    ):
        assert any(line.split()[0].strip(":") == word or word in line for line in done.stdout.splitlines())
    assert "all is well" in done.stdout


def test_doctor_says_what_is_wrong(tmp_path):
    (tmp_path / "fvcore.py").write_text("raise ImportError('broken on purpose')")
    code = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['doctor']; "
    code += f"runpy.run_path({str(PROJECT / 'tools' / 'doctor.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong: fvcore does not import (broken on purpose)" in done.stdout
