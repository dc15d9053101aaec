"""Runs a tool in processes that are stopped from outside: `python killed_runs.py PLAN.json`.

One process imports everything and forks the others, which saves the seconds of an import each time.

PLAN: {"tool": "pretrain" or "train_net", "args": [...], "output": DIR, "signal": "KILL" or "TERM",
"points": [seconds or "saving", …], "group": bool}.
At each point the run is stopped, so many seconds after its training has begun or while it writes a checkpoint, and
gone on with; at last it is left to finish. Prints {"stopped": how many were stopped, "codes": [their exit codes]}.
"""

import importlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


def start(tool, args, group, log):
    pid = os.fork()
    if pid:
        return pid
    if group:
        os.setpgrp()
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    code = tool.main(args)
    sys.stdout.flush()
    os._exit(code)


def ended(pid):
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def wait_for(pid, condition):
    """Whether the condition came before the process ended."""
    while not condition():
        if ended(pid):
            return False
        time.sleep(0.0005)
    return True


def starts(output):
    """How often training has begun."""
    log = output / "log.txt"
    return log.read_text().count("Starting training") if log.is_file() else 0


def stop_at(pid, point, output, number, group):
    before = starts(output)
    if point == "saving":
        reached = wait_for(pid, lambda: any(output.glob("model*.pth.partial")))
    else:
        begun = wait_for(pid, lambda: starts(output) > before)
        deadline = time.time() + point
        reached = begun and wait_for(pid, lambda: time.time() > deadline)
    if not reached:
        return None
    (os.killpg if group else os.kill)(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    plan = json.loads(Path(sys.argv[1]).read_text())
    tool = importlib.import_module(plan["tool"])
    output, group = Path(plan["output"]), plan.get("group", False)
    log = os.open(f"{output}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = getattr(signal, f"SIG{plan['signal']}")
    codes = []
    for point in plan["points"]:
        resume = ["--resume"] if (output / "last_checkpoint").is_file() else []
        if not resume and output.is_dir():  # stopped before its first checkpoint: begin again
            shutil.rmtree(output)
        code = stop_at(start(tool, [*resume, *plan["args"]], group, log), point, output, number, group)
        if code is None:
            break
        codes.append(code)
    resume = ["--resume"] if (output / "last_checkpoint").is_file() else []
    _, status = os.waitpid(start(tool, [*resume, *plan["args"]], False, log), 0)
    print(json.dumps({"stopped": len(codes), "codes": codes, "last": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
