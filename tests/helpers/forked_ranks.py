"""Runs a tool in processes as torchrun starts them, forked from this one, which saves the seconds of their imports."""

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import torch
from run_tools import LIMIT, kept_state


def run_ranks(tool, args, output, *, count=2, prepare=None, watch=None):
    """Runs `tool.main(args)` in processes, with torchrun's environment variables where they are several.

    Args:
        tool: a module of tools/.
        args: its arguments.
        output: path to which ".0", ".1", … are appended for what each process prints.
        count: number of processes.
        prepare: called in each process with its rank, before the tool.
        watch: called again and again with the ids of the processes, each the leader of a group, and the seconds since
            their start. It may end some of them.

    Returns:
        the exit codes, and the seconds between the first end of a process and the last.
    """
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [_start(tool, [*map(str, args)], f"{output}.{rank}", rank, count, port, prepare) for rank in range(count)]
    codes, ends, start = {}, [], time.monotonic()
    while len(codes) < count:
        left, seconds = [pid for pid in ranks if pid not in codes], time.monotonic() - start
        if watch:
            watch(left, seconds)
        if seconds > LIMIT:
            for pid in left:
                os.killpg(pid, signal.SIGKILL)
            raise TimeoutError(f"{output}: a process has not ended; exit codes: {list(codes.values())}")
        for pid in left:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
                ends.append(seconds)
        time.sleep(0.02)
    return [codes[pid] for pid in ranks], ends[-1] - ends[0]


def fork_tools(monkeypatch, output):
    """Lets the commands that start other tools fork these from this process.

    Args:
        monkeypatch: pytest's.
        output: file for what the last of the tools prints.
    """

    class Forked(subprocess.Popen):
        def _execute_child(self, command, *_):
            tool = importlib.import_module(Path(command[1]).stem)
            self.pid, self._child_created = _start(tool, command[2:], output, 0, 1, 0, None), True

    names = SimpleNamespace(Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("residet.sweep.subprocess", names)


def _start(tool, args, log, rank, count, port, prepare):
    if pid := os.fork():
        with contextlib.suppress(OSError):  # the child does the same; whoever is first
            os.setpgid(pid, pid)
        return pid
    code = 70
    try:
        os.setpgrp()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        with kept_state(), open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
            if count > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
                os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": str(port)}
            torch.set_num_threads(1)
            if prepare:
                prepare(rank)
            code = tool.main(args)
    except SystemExit as e:
        code = e.code
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(code)
