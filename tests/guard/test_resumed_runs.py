"""What --resume takes and refuses; runs that were stopped early; two runs in one folder."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

from backbones.weights.files import read_checkpoint
from classification.data.examples import TrainingImages
from classification.trainer import ClassificationTrainer

import pytest
import torch
from run_tools import PROJECT, assert_clear_error, pretrain

RUN = ["CLASSIFICATION.ARCH", "cifar_wrn10_1", "CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16]
RUN += ["SOLVER.IMS_PER_BATCH", 8, "MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", 0.01, "CLASSIFICATION.EVAL_EPOCHS", 0]
RUN += ["CLASSIFICATION.EPOCHS", 0]
SHORT = [*RUN, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "DATALOADER.NUM_WORKERS", 0]


@pytest.fixture
def finished(shapes, tmp_path):
    """The folder of a run of 4 iterations, and its command."""
    command = ["--data", shapes / "crops", *SHORT, "OUTPUT_DIR", tmp_path / "run"]
    done = pretrain(*command)
    assert done.returncode == 0, done.stderr
    return tmp_path / "run", command


def test_what_would_make_another_run_is_refused(finished, shapes, tmp_path):
    folder, command = finished
    before = {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    for opts in (
        ["SEED", 7],
        ["SOLVER.IMS_PER_BATCH", 4],
        ["SOLVER.BASE_LR", 0.02],
        ["SOLVER.WEIGHT_DECAY", 0.1],
        ["CLASSIFICATION.COLOUR", "none"],
        ["SOLVER.STEPS", "(2, 9)"],
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
    ):
        assert_clear_error(pretrain("--resume", *command, *opts), opts[0], "changes the run", "another OUTPUT_DIR")
    assert_clear_error(pretrain("--resume", *command, "SOLVER.MAX_ITER", 2), "SOLVER.MAX_ITER: 2 iterations are over")
    assert before == {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}


def test_what_may_change_is_listed_and_the_old_config_kept(finished):
    folder, command = finished
    old = (folder / "config.yaml").read_text()
    done = pretrain("--resume", *command, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", "(5,)", "DATALOADER.NUM_WORKERS", 1)
    assert done.returncode == 0, done.stderr
    assert "changed since the run was started: SOLVER.MAX_ITER: 4 → 6" in done.stdout
    assert "changed since the run was started: DATALOADER.NUM_WORKERS: 0 → 1" in done.stdout
    assert (folder / "config-1.yaml").read_text() == old and "MAX_ITER: 6" in (folder / "config.yaml").read_text()
    assert read_checkpoint(folder / "model_final.pth")["trainer"]["iteration"] == 5


def test_other_data_of_the_same_classes_is_refused(finished, shapes, tmp_path):
    _, command = finished
    moved, other = (shutil.copytree(shapes / "crops", tmp_path / name) for name in ("moved", "other"))
    image = next((other / "train").rglob("*.png"))
    image.with_name("another.png").write_bytes(image.read_bytes())
    done = pretrain("--resume", "--data", moved, *command[2:], "SOLVER.MAX_ITER", 5)
    assert done.returncode == 0, done.stderr  # the same data in another folder
    done = pretrain("--resume", "--data", other, *command[2:], "SOLVER.MAX_ITER", 6)
    assert_clear_error(done, "other images or annotations")


NAMES = ["../elsewhere.pth", "/etc/passwd", "a/../model_final.pth", "", "x\x1b[31m.pth", "none.pth", b"\xc6\x00\xff"]


@pytest.mark.parametrize("name", NAMES)
def test_last_checkpoint_names_a_file_of_its_folder(finished, name):
    folder, command = finished
    (folder / "last_checkpoint").write_bytes(name if isinstance(name, bytes) else name.encode())
    (folder.parent / "elsewhere.pth").write_bytes((folder / "model_final.pth").read_bytes())
    done = pretrain("--resume", *command, "SOLVER.MAX_ITER", 5)
    if name:
        assert_clear_error(done, "--resume", "last_checkpoint")
        assert "\x1b" not in done.stderr
    else:  # the name is missing, but the checkpoints are there
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("state", [None, 5, {}, {"iteration": "x"}, {"iteration": -1}, {"iteration": 1}])
def test_a_checkpoint_without_a_state_is_none_to_resume(finished, state):
    folder, command = finished
    content = read_checkpoint(folder / "model_final.pth")
    torch.save(
        {k: v for k, v in content.items() if k != "trainer"} | ({"trainer": state} if state else {}), folder / "w.pth"
    )
    (folder / "last_checkpoint").write_text("w.pth")
    before = (folder / "model_final.pth").read_bytes()
    assert_clear_error(pretrain("--resume", *command, "SOLVER.MAX_ITER", 5), "w.pth")
    assert (folder / "model_final.pth").read_bytes() == before


def test_interrupted_before_the_first_checkpoint_the_same_command_begins_again(shapes, tmp_path, monkeypatch):
    command = ["--data", shapes / "crops", *SHORT, "SOLVER.CHECKPOINT_PERIOD", 99, "TEST.EVAL_PERIOD", 1]
    command += ["OUTPUT_DIR", tmp_path / "run"]
    whole = ClassificationTrainer.run_step

    def run_step(trainer):
        if trainer.iter == 2:
            raise KeyboardInterrupt
        whole(trainer)

    monkeypatch.setattr(ClassificationTrainer, "run_step", run_step)
    done = pretrain(*command)
    assert done.returncode == 130 and "give the same command again" in done.stderr
    assert {"metrics.json", "model_best.pth"} <= {p.name for p in (tmp_path / "run").iterdir()}
    assert_clear_error(pretrain("--resume", *command), "holds no checkpoint to resume")
    monkeypatch.setattr(ClassificationTrainer, "run_step", whole)
    assert pretrain(*command).returncode == 0
    assert (tmp_path / "run" / "stopped-1" / "model_best.pth").is_file()
    assert len((tmp_path / "run" / "metrics.json").read_text().splitlines()) == 4


def test_interrupted_later_the_message_names_resume(shapes, tmp_path, monkeypatch):
    def after_train(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTrainer, "after_train", after_train)
    done = pretrain("--data", shapes / "crops", *SHORT, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 130 and "go on from model_final.pth with: " in done.stderr


def test_a_long_run_keeps_the_latest_values_of_a_metric_alone(shapes, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("residet.engine.trainer._HISTORY", 3)
    whole = ClassificationTrainer.after_train
    monkeypatch.setattr(
        ClassificationTrainer,
        "after_train",
        lambda trainer: kept.extend(len(h.values()) for h in trainer.storage.histories().values()) or whole(trainer),
    )
    done = pretrain("--data", shapes / "crops", *SHORT, "SOLVER.MAX_ITER", 6, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 0 and max(kept) == 3, (kept, done.stderr)


def test_a_worker_that_is_killed_is_a_message_and_the_run_is_saved(shapes, tmp_path, monkeypatch):
    command = ["--data", shapes / "crops", *SHORT, "SOLVER.CHECKPOINT_PERIOD", 99, "SOLVER.MAX_ITER", 8]
    command += ["DATALOADER.NUM_WORKERS", 1, "OUTPUT_DIR", tmp_path / "run"]
    whole, step = TrainingImages.__getitem__, ClassificationTrainer.run_step
    done_steps = multiprocessing.Value("i", 0)

    def counted(trainer):
        step(trainer)
        done_steps.value += 1

    def killed(images, key):
        if key[0] == 40:  # of the sixth batch
            while done_steps.value < 4:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(images, key)

    monkeypatch.setattr(ClassificationTrainer, "run_step", counted)
    monkeypatch.setattr(TrainingImages, "__getitem__", killed)
    done = pretrain(*command)
    assert_clear_error(done, "DATALOADER.NUM_WORKERS", "was killed", "fewer workers", "the run is saved, go on with: ")
    saved = int((tmp_path / "run" / "last_checkpoint").read_text()[6:13])
    assert 2 <= saved <= 4  # with the worker go the batches that it had not handed over yet
    monkeypatch.setattr(TrainingImages, "__getitem__", whole)
    done = pretrain("--resume", *command)
    assert done.returncode == 0 and f"resumed at iteration {saved + 1} of 8" in done.stdout, done.stderr


HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write(f"process {os.getpid()} on somewhere")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_in_the_folder_is_refused_until_the_first_has_ended(finished, shapes):
    folder, command = finished
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "run.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        done = pretrain("--resume", *command, "SOLVER.MAX_ITER", 5)
        assert_clear_error(done, f"process {holder.pid} on somewhere is writing there")
        other = folder.parent / "new"
        (folder / "run.lock").rename(folder / "x")  # a lock belongs to the file, not to its name
        other.mkdir()
        (folder / "x").rename(other / "run.lock")
        assert_clear_error(pretrain("--data", shapes / "crops", *SHORT, "OUTPUT_DIR", other), "is writing there")
        holder.kill()
    done = pretrain("--resume", *command, "SOLVER.MAX_ITER", 5)
    assert done.returncode == 0, done.stderr
    assert not (folder / "run.lock").exists()


HANGS = """
import ctypes, signal, backbones, residet.engine.resume as stop
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which the tests may run, ignores it
stop.STOP.install()
print("ready", flush=True)
while not stop.STOP.asked:
    ctypes.CDLL(None).sleep(1)  # a signal that arrives before does not end the sleep
print("asked", stop.STOP.asked, flush=True)
while True:
    ctypes.CDLL(None).sleep(1000)
"""


def test_a_second_signal_ends_a_run_that_hangs():
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, "-c", HANGS], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)  # torchrun sends its own after a scheduler's
        assert process.stdout.readline().startswith("asked SIG")
        time.sleep(3.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
