"""The bar in a file and on a terminal, and log lines beside it."""

import io
import logging
import os
import pty
import subprocess
import sys
import time

from residet import progress as module
from residet.progress import progress

LOOP = """
import logging
from residet.progress import ConsoleHandler, progress
log = logging.getLogger("x")
log.handlers, log.propagate = [ConsoleHandler()], False
log.setLevel(logging.INFO)
for i in progress(range(3), desc="outer"):
    log.info("line %d", i)
"""


def test_a_short_loop_says_nothing_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress(range(3), desc="decode", leave=False)) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


def test_a_long_loop_gives_whole_lines_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    for _ in progress(range(3), desc="outer"):
        for _ in progress(range(3), desc="inner", leave=False):
            time.sleep(0.02)
    text = sys.stderr.getvalue()
    assert "\r" not in text and "\x1b" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert lines and all(line.startswith(("outer: ", "inner: ")) for line in lines)
    assert "3/3" in lines[-1] and lines[-1].startswith("outer")


def test_a_state_is_written_once():
    lines = module._Lines(io.StringIO())
    for text in ("\router: 100%  ", "\n", "\router: 100%", "\x1b[A"):  # as tqdm ends a loop
        lines.write(text)
    assert lines.stream.getvalue() == "outer: 100%\n"


def test_a_log_line_on_a_terminal_has_a_line_of_its_own():
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", LOOP], stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # what Linux gives once the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    # What the terminal shows of a line: what comes after the last return of the cursor.
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in seen.decode().split("\n")]
    assert [line for line in shown if line.startswith("line")] == ["line 0", "line 1", "line 2"]


def test_the_console_writes_what_it_gets(capsys):
    log = logging.getLogger("residet.test_console")
    log.handlers, log.propagate = [module.ConsoleHandler()], False
    log.warning("hello")
    assert capsys.readouterr().out == "hello\n"
