"""Runs a tool in two processes as torchrun does, forked from this one, which saves the seconds of their imports."""

import os
import signal
import socket
import time
from contextlib import closing

import torch
from run_tools import kept_state

LIMIT = 120  # seconds


def run_ranks(tool, args, output, *, prepare=None, count=2):
    """Runs `tool.main(args)` in processes with torchrun's environment variables.

    Args:
        tool: a module of tools/.
        args: its arguments.
        output: path to which ".0", ".1", … are appended for what each process prints.
        prepare: called in each process with its rank, before the tool.
        count: number of processes.

    Returns:
        the exit codes, and the seconds between the first end of a process and the last.
    """
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [_start(tool, [*map(str, args)], f"{output}.{rank}", rank, count, port, prepare) for rank in range(count)]
    codes, ends, deadline = {}, [], time.monotonic() + LIMIT
    while len(codes) < count:
        for pid in set(ranks) - codes.keys():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
                ends.append(time.monotonic())
        if time.monotonic() > deadline:
            for pid in set(ranks) - codes.keys():
                os.kill(pid, signal.SIGKILL)
            raise TimeoutError(f"a process has not ended within {LIMIT} s; exit codes: {list(codes.values())}")
        time.sleep(0.02)
    return [codes[pid] for pid in ranks], ends[-1] - ends[0]


def _start(tool, args, log, rank, count, port, prepare):
    if pid := os.fork():
        return pid
    code = 70
    try:
        with kept_state():
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1), os.dup2(file, 2)
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": str(port)}
            torch.set_num_threads(1)
            if prepare:
                prepare(rank)
            with open(1, "w", closefd=False) as stdout, open(2, "w", closefd=False) as stderr:
                import sys

                sys.stdout, sys.stderr = stdout, stderr
                code = tool.main(args)
    except SystemExit as e:
        code = e.code
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    os._exit(code)
