"""What reaches the terminal and the log: no control characters, and no warnings of libraries on the terminal."""

import io
import logging
import warnings

from backbones.errors import InputError, printable, shown
from classification.config import default_config
from residet.cli.exits import exit_code
from residet.launch import resolve_device, start_log
from residet.plan import RunPlan

import pytest
from run_tools import kept_state

EVIL = "cat\x1b[31m\x07\x9b2J\u202eevil"


def test_control_characters_are_shown():
    assert printable(EVIL) == r"cat\x1b[31m\x07\x9b2J\u202eevil"
    assert printable("a\tb\nKatze ä 猫 🐈") == "a\tb\nKatze ä 猫 🐈"
    assert printable(b"\xff.jpg".decode(errors="surrogateescape")) == r"\udcff.jpg"
    assert shown(10**5000) == "a int that is too long to show" and len(shown("x" * 999)) == 120


def test_messages_and_logs_show_control_characters(tmp_path, capsys):
    def fail():
        raise InputError(f"{EVIL}: broken")

    assert exit_code(fail) == 2
    assert capsys.readouterr().err == f"error: {printable(EVIL)}: broken\n"
    cfg = default_config()
    cfg.OUTPUT_DIR = str(tmp_path)
    with kept_state(), warnings.catch_warnings():
        warnings.simplefilter("always")
        start_log(RunPlan(cfg, lines=[f"classes: {EVIL}"]), "a run")
        warnings.warn("a library warns", stacklevel=1)
    printed = capsys.readouterr()
    content = (tmp_path / "log.txt").read_text()
    for text in (printed.out, content):
        assert printable(EVIL) in text and "\x1b" not in text
    assert "a library warns" in content and "a library warns" not in printed.out + printed.err


def test_no_more_workers_than_the_job_has_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    cfg = default_config()
    resolve_device(cfg)
    assert cfg.DATALOADER.NUM_WORKERS == 1


def test_a_gpu_that_is_not_there_is_named():
    cfg = default_config()
    cfg.MODEL.DEVICE = "cuda:77"
    with pytest.raises(InputError, match=r"MODEL\.DEVICE: cuda:77 is not there"):
        resolve_device(cfg)


@pytest.fixture(autouse=True)
def warnings_shown():
    yield
    logging.captureWarnings(False)


def test_a_log_that_the_disk_does_not_take_is_told_once(tmp_path, capsys):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    cfg = default_config()
    cfg.OUTPUT_DIR = str(tmp_path)
    with kept_state():
        start_log(RunPlan(cfg), "a run")
        logging.getLogger("residet").info("another line")
    printed = capsys.readouterr()
    assert "another line" in printed.out
    assert printed.err.count("log.txt: No space left on device") == 1 and "Traceback" not in printed.err


def test_what_a_tool_prints_shows_control_characters(monkeypatch):
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", printed)
    assert exit_code(lambda: print(f"{EVIL} → 5", flush=True)) == 0
    assert printed.buffer.getvalue().decode() == f"{printable(EVIL)} \\u2192 5\n"
