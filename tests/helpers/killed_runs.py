"""Runs a tool in processes that end at given points: `python killed_runs.py PLAN.json`.

One process imports everything and forks the others, which saves the seconds of an import each time.

PLAN: {"tool": "pretrain" or "train_net", "args": [...], "output": DIR, "signal": "KILL" or "TERM",
"points": [[EVENT, COUNT], …], "finish": bool}.
Each process sends itself the signal at the COUNT-th EVENT since its start, and the next process goes on with the run:
"batch": an iteration begins; "step": the weights are about to change, which a scaler may skip; "save": half of a
checkpoint is written; "rename": a checkpoint, or the name of the last one, is written and has not its name yet; "test":
a test of the model begins. SIGTERM reaches the workers too, as schedulers send it. At last, if it is to finish, the run
is left to.
Prints {"codes": [exit codes of the stopped processes], "last": exit code of the one that finished, or 0}.
"""

import importlib
import io
import json
import os
import signal
import sys
from pathlib import Path

from residet.output import is_resumable

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


class Death:
    """Sends the process the signal at the `count`-th event."""

    def __init__(self, event, count, number):
        self.left = count
        self.number = number
        getattr(self, f"_at_{event}")()

    def _happens(self):
        self.left -= 1
        if self.left == 0:
            if self.number == signal.SIGKILL:
                os.kill(os.getpid(), self.number)
            os.killpg(0, self.number)

    def _at_batch(self):
        whole = torch.optim.Optimizer.zero_grad

        def zero_grad(optimizer, *args, **options):
            self._happens()
            return whole(optimizer, *args, **options)

        torch.optim.Optimizer.zero_grad = zero_grad

    def _at_step(self):
        register_optimizer_step_pre_hook(lambda *_: self._happens())

    def _at_save(self):
        whole = torch.save

        def save(content, file):
            held = io.BytesIO()
            whole(content, held)
            file.write(held.getvalue()[: held.tell() // 2])
            file.flush()
            self._happens()
            file.seek(0)
            file.write(held.getvalue())

        torch.save = save

    def _at_rename(self):
        whole = Path.replace

        def replace(path, target):
            if "model" in path.name or "last_checkpoint" in path.name:
                self._happens()
            return whole(path, target)

        Path.replace = replace

    def _at_test(self):
        whole = torch.nn.Module.eval

        def to_eval(module):
            self._happens()
            return whole(module)

        torch.nn.Module.eval = to_eval


def start(tool, args, log, point=None, number=None):
    pid = os.fork()
    if pid:
        return pid
    os.setpgrp()
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    if point:
        Death(*point, number)
    code = tool.main(args)
    sys.stdout.flush()
    os._exit(code)


def end_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    plan = json.loads(Path(sys.argv[1]).read_text())
    tool = importlib.import_module(plan["tool"])
    importlib.import_module({"pretrain": "classification.prepare", "train_net": "detection.prepare"}[plan["tool"]])
    output = Path(plan["output"])
    log = os.open(f"{output}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = getattr(signal, f"SIG{plan['signal']}")
    codes = []
    for point in [*plan["points"], *([None] if plan["finish"] else [])]:
        resume = ["--resume"] if is_resumable(output) else []  # else it begins again, in the same folder
        codes.append(end_of(start(tool, [*resume, *plan["args"]], log, point, number)))
    last = codes.pop() if plan["finish"] else 0
    print(json.dumps({"codes": codes, "last": last}))


if __name__ == "__main__":
    main()
