"""Runs that are stopped at given points and gone on with; and the comparison of what runs leave."""

import importlib
import io
import json
import os
import signal
from pathlib import Path

from backbones.weights.files import read_checkpoint
from residet.output import is_resumable

import torch
from forked_ranks import run_ranks
from torch.optim.optimizer import register_optimizer_step_pre_hook


class Death:
    """Sends the process the signal at the `count`-th event; SIGTERM to its workers too, as schedulers do."""

    def __init__(self, event, count, number):
        self.event = event
        self.left = count
        self.number = number

    def __call__(self, _rank):
        getattr(self, f"_at_{self.event}")()

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


def stopped(args, output, signal_name, points, *, tool="pretrain", finish=True):
    """Runs a tool that is stopped at each point and gone on with, where asked to its end.

    Args:
        args: of the tool, but for --resume.
        output: OUTPUT_DIR; what the processes print is beside it, in OUTPUT_DIR.log.
        signal_name: "KILL", "TERM" or "INT".
        points: (event, count) each: a process gets the signal at that event since its start, counted from 1. "batch":
            an iteration begins; "step": the weights are about to change, which a scaler may skip; "save": half of a
            checkpoint is written; "rename": a checkpoint, or the name of the last one, is written and has not its name
            yet; "test": a test of the model begins.
        tool: "pretrain" or "train_net".
        finish: whether the last process runs to its end.

    Returns:
        the exit codes of the stopped processes.
    """
    module, number, log, codes = importlib.import_module(f"tools.{tool}"), signal.Signals[f"SIG{signal_name}"], "", []
    for point in [*points, *([None] if finish else [])]:
        resume = ["--resume"] if is_resumable(output) else []  # else it begins again, in the same folder
        prepare = Death(*point, number) if point else None
        (code,), _ = run_ranks(module, [*resume, *args], output, count=1, prepare=prepare)
        codes.append(code)
        log += Path(f"{output}.0").read_text()
    Path(f"{output}.log").write_text(log)
    if finish:
        assert codes.pop() == 0, log
    return codes


def assert_same(a, b, path=""):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        assert a == b or (a != a and b != b), path  # NaN is a result too


def assert_same_files(one, other, names=("model_final.pth", "model_best.pth", "model_ema.pth")):
    for name in names:
        assert_same(read_checkpoint(one / name), read_checkpoint(other / name), name)


def assert_same_results(one, other):
    assert json.loads((one / "results.json").read_text()) == json.loads((other / "results.json").read_text())
