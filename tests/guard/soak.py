"""Memory, open files and threads of long trainings with many evaluations and checkpoints: `make soak MINUTES=180`.

Trains a detector and a classifier side by side, each with a DataLoader process, and reads /proc (Linux) every few
seconds. Writes the samples as JSON and draws them. The slope is that of a straight line through the samples between
evaluations, which start a DataLoader process more, after the first quarter of the time, in which caches fill.

PYTHONPATH=.:tests/helpers python tests/guard/soak.py --minutes 180 --output output/soak
PYTHONPATH=.:tests/helpers python tests/guard/soak.py --draw --output output/soak --picture docs/soak.svg
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from backbones.whole_files import write_json
from detection.data.synthetic import make_shapes

import numpy as np
from run_tools import PROJECT

LENGTH = 10**8  # iterations; no soak comes to their end
COMMON = ["DATALOADER.NUM_WORKERS", 1, "SOLVER.CHECKPOINTS_KEPT", 2, "SOLVER.WARMUP_ITERS", 10]
COMMON += ["SOLVER.MAX_ITER", LENGTH, "SOLVER.CHECKPOINT_PERIOD", 20, "TEST.EVAL_PERIOD", 20, "SOLVER.EMA.DECAY", 0.99]
DETECTOR = ["--config-file", "configs/demo/faster_rcnn_resnet18_fpn.yaml", *COMMON, "SOLVER.IMS_PER_BATCH", 2]
DETECTOR += ["MODEL.FPN.OUT_CHANNELS", 16, "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64]
DETECTOR += ["SOLVER.BASE_LR", 0.001, "TEST.PICTURES", 1]
CLASSIFIER = ["--arch", "cifar_wrn10_1", *COMMON, "SOLVER.IMS_PER_BATCH", 8, "SOLVER.BASE_LR", 0.001]
CLASSIFIER += ["CLASSIFICATION.SIZE", 16, "CLASSIFICATION.RESIZE", 16, "CLASSIFICATION.EPOCHS", 0]
CLASSIFIER += ["CLASSIFICATION.EVAL_EPOCHS", 0]
FIGURES = {"memory": "memory, MiB", "files": "open files", "threads": "threads", "processes": "processes"}


def commands(data, output):
    """Name of a run -> its command."""
    tools = {
        "detector": ["tools/train_net.py", "--data", data, *DETECTOR],
        "classifier": ["tools/pretrain.py", "--data", data / "crops", *CLASSIFIER],
    }
    return {name: [sys.executable, *tool, "OUTPUT_DIR", output / name] for name, tool in tools.items()}


def processes_of(pid):
    """A process and those that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes_of(int(child))


def figures(pid):
    """Memory in MiB, open files and threads of a process and its children.

    Memory that a process shares with its children counts once. Pages of files, such as libraries, do not count, since
    they are shared with whatever else runs on the machine.
    """
    found = dict.fromkeys(FIGURES, 0)
    for number in processes_of(pid):
        folder = Path(f"/proc/{number}")
        rollup = (folder / "smaps_rollup").read_text()
        found["memory"] += sum(int(rollup.split(f"{key}:")[1].split()[0]) for key in ("Pss_Anon", "Pss_Shmem")) / 1024
        found["files"] += len(os.listdir(folder / "fd"))
        found["threads"] += len(os.listdir(folder / "task"))
        found["processes"] += 1
    return found


def iteration(folder):
    """The last iteration in metrics.json; 0 before the first."""
    file = folder / "metrics.json"
    lines = file.read_text().splitlines() if file.is_file() else []
    return max((json.loads(line)["iteration"] for line in lines[-3:-1]), default=0)


def soak(output, minutes, period):
    """Runs both trainings for the time, and writes OUTPUT/soak.json."""
    shutil.rmtree(output, ignore_errors=True)
    make_shapes(output / "data", train=16, test=8, seed=0)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    runs = {}
    for name, command in commands(output / "data", output).items():
        with (output / f"{name}.log").open("w") as log:
            runs[name] = subprocess.Popen(list(map(str, command)), cwd=PROJECT, env=env, stdout=log, stderr=log)
    samples, start = {name: [] for name in runs}, time.monotonic()
    while (seconds := time.monotonic() - start) < 60 * minutes:
        for name, run in runs.items():
            assert run.poll() is None, (output / f"{name}.log").read_text()[-3000:]
            try:
                sample = figures(run.pid)
            except (FileNotFoundError, ProcessLookupError, IndexError):  # a process has ended while it was read
                continue
            samples[name].append({"seconds": round(seconds, 1), "iteration": iteration(output / name), **sample})
        write_json({"period": period, "samples": samples}, output / "soak.json", indent=None)
        time.sleep(period)
    for run in runs.values():
        run.send_signal(signal.SIGTERM)
    codes = {name: run.wait(timeout=600) for name, run in runs.items()}
    assert not any(codes.values()), codes


def slopes(samples):
    """Figure -> (mean, change in % an hour), after the first quarter of the time."""
    rest = [s for s in samples if s["seconds"] >= samples[-1]["seconds"] / 4]
    fewest = min(s["processes"] for s in rest)
    rest = [s for s in rest if s["processes"] == fewest]
    hours = np.array([s["seconds"] for s in rest]) / 3600
    found = {}
    for figure in FIGURES:
        values = np.array([s[figure] for s in rest])
        found[figure] = values.mean(), 100 * np.polyfit(hours, values, 1)[0] / values.mean()
    return found


def draw(samples, file):
    """Draws the figures over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = ("memory", "files", "threads")
    figure, axes = plt.subplots(1, len(shown), figsize=(10, 2.8), constrained_layout=True)
    for ax, name in zip(axes, shown, strict=True):
        for run, of_run in samples.items():
            ax.plot([s["seconds"] / 60 for s in of_run], [s[name] for s in of_run], label=run, linewidth=0.8)
        ax.set(xlabel="minutes", title=FIGURES[name], ylim=(0, None))
    axes[0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--period", type=float, default=5, help="seconds between two samples")
    parser.add_argument("--output", type=Path, default=Path("output/soak"), help="folder; cleared at the start")
    parser.add_argument("--picture", type=Path, help="file for the plot; by default OUTPUT/soak.svg")
    parser.add_argument("--draw", action="store_true", help="draw the samples of OUTPUT/soak.json, without a run")
    args = parser.parse_args()
    if not args.draw:
        soak(args.output, args.minutes, args.period)
    samples = json.loads((args.output / "soak.json").read_text())["samples"]
    for run, of_run in samples.items():
        last = of_run[-1]
        print(f"{run}: {last['iteration']} iterations in {last['seconds'] / 60:.0f} minutes")
        for figure, (mean, change) in slopes(of_run).items():
            print(f"  {FIGURES[figure]:12} {mean:8.1f} on average, {change:+.2f} % an hour")
    draw(samples, args.picture or args.output / "soak.svg")


if __name__ == "__main__":
    main()
