"""Kills, cuts off and tears real runs at random moments, goes on with them, and counts those that end the same.

A trial is a small training of a detector or a classifier, in one process or in two as torchrun starts them. It is
disturbed up to three times, resumed to its end, and compared with a run that nothing has disturbed: weights, optimizer,
random state, results. What a trial does follows from its number. A finished trial is not repeated. "left" counts
processes that did not end by themselves.

kill   SIGKILL at a random moment: to all processes, or to one of two
term   SIGTERM at a random moment, likewise
fill   no file can grow over a random size, as on a full disk
tear   SIGKILL; then a file that the run was writing is cut off at a random place, emptied or filled with other bytes.
       --resume must refuse a torn checkpoint by name, and goes on from the one before once the file is removed

PYTHONPATH=.:tests/helpers python tests/guard/chaos.py --minutes 25 --output output/chaos
PYTHONPATH=.:tests/helpers python tests/guard/chaos.py --trial 17 --output output/chaos
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from backbones.whole_files import json_or_none, write_json
from classification import prepare as _imported_once  # noqa: F401  the processes are forked from this one
from detection import trainer as _imported_too  # noqa: F401
from detection.data.synthetic import make_shapes
from residet.output import is_resumable, last_checkpoint

from forked_ranks import run_ranks
from run_tools import PROJECT
from stopped_runs import assert_same, assert_same_files

COMMON = ["SOLVER.CHECKPOINT_PERIOD", 3, "SOLVER.CHECKPOINTS_KEPT", 2, "TEST.EVAL_PERIOD", 4]
COMMON += ["SOLVER.WARMUP_ITERS", 2, "SOLVER.IMS_PER_BATCH", 4, "MODEL.DEVICE", "cpu"]
DETECTOR = ["--config-file", PROJECT / "configs/demo/faster_rcnn_resnet18_fpn.yaml", *COMMON, "SOLVER.MAX_ITER", 8]
DETECTOR += ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "INPUT.MIN_SIZE_TRAIN", "(48, 64)"]
DETECTOR += ["INPUT.MIN_SIZE_TEST", 48, "SOLVER.BASE_LR", 0.001, "TEST.PICTURES", 1, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
CLASSIFIER = ["--arch", "cifar_wrn10_1_d0.3", *COMMON, "SOLVER.MAX_ITER", 15, "SOLVER.BASE_LR", 0.01]
CLASSIFIER += [
    "SOLVER.EMA.DECAY",
    0.9,
    "CLASSIFICATION.SIZE",
    16,
    "CLASSIFICATION.RESIZE",
    16,
    "CLASSIFICATION.EPOCHS",
    0,
    "CLASSIFICATION.EVAL_EPOCHS",
    0,
]
CLASSIFIER += ["CLASSIFICATION.COLOUR", "jitter", "CLASSIFICATION.MIXUP", 0.2]
SIDES = {"detector": ("train_net", ".", DETECTOR), "classifier": ("pretrain", "crops", CLASSIFIER)}
KINDS = ("kill", "kill", "term", "fill", "tear")
# Seconds. torchrun, which does not run here, ends the other processes when one was killed. Without it, a process whose
# partner is killed while they connect waits for half an hour.
AGENT = 120
TORN = ("metrics.json", "log.txt", "last_checkpoint", "events.out.*", "model_[0-9]*.pth", "*.partial")


def start(folder, side, processes, output, *, prepare=None, watch=None):
    """Starts or resumes the run in `output`; returns the exit codes and what the processes printed."""
    tool, data, options = SIDES[side]
    workers = 1 if processes == 1 else 0  # a fork beside gloo's threads can hang in the child
    resume = ["--resume"] if output.is_dir() and is_resumable(output) else []
    args = ["--data", folder / "data" / data, *resume, *options, "DATALOADER.NUM_WORKERS", workers]
    args, log = [*args, "OUTPUT_DIR", output], f"{output}.log"
    codes, _ = run_ranks(importlib.import_module(tool), args, log, count=processes, prepare=prepare, watch=watch)
    return codes, "".join(Path(f"{log}.{rank}").read_text() for rank in range(processes))


def undisturbed(folder, side, processes):
    """The run that nothing disturbs, and the seconds that it took."""
    output = folder / f"{side}_{processes}"
    known = json_or_none(f"{output}.json")
    if not known:
        shutil.rmtree(output, ignore_errors=True)
        began = time.monotonic()
        codes, printed = start(folder, side, processes, output)
        assert codes == [0] * processes, printed
        known = {"seconds": time.monotonic() - began}
        write_json(known, f"{output}.json")
    return output, known["seconds"]


def disturbed_start(draw, kind, seconds, *run):
    """A start of a run that something happens to; returns as `start`, and how many processes had to be ended."""
    moment, only_one, largest = draw.uniform(0, seconds), draw.random() < 0.3, int(10 ** draw.uniform(3, 6.3))
    number, sent, left = signal.SIGTERM if kind == "term" else signal.SIGKILL, [], set()

    def limit(_):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    def watch(pids, passed):
        if passed > moment and not sent:
            sent.extend(pids[-1:] if only_one else pids)
            _kill(sent, number)
        if sent and passed > moment + AGENT:
            left.update(pids)
            _kill(pids, signal.SIGKILL)

    codes, printed = start(*run, prepare=limit) if kind == "fill" else start(*run, watch=watch)
    return codes, printed, len(left)


def _kill(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)  # DataLoader processes too, as a scheduler sends it


def tear(draw, output):
    """Damages a file that a killed run was writing. Returns the file; None where there is none."""
    files = sorted(path for name in TORN for path in output.glob(name))
    if not files:
        return None
    path = draw.choice(files)
    content = path.read_bytes()
    how = draw.choice(("cut", "empty", "other"))
    torn = {"cut": content[: draw.randrange(len(content) + 1)], "empty": b"", "other": draw.randbytes(100)}
    path.write_bytes(torn[how])
    return path


def refuse_torn(folder, side, processes, output, path):
    """Whether --resume goes on from the torn file, and so must refuse the file. The file is then removed."""
    if not is_resumable(output) or path.name not in ("last_checkpoint", last_name(output)):
        return False
    before = {p: p.read_bytes() for p in output.glob("model*.pth")}
    codes, printed = start(folder, side, processes, output)
    if codes == [0] * processes:  # the file was whole, or what was lost of it is told by another
        return False
    assert codes == [2] * processes and path.name in printed and "Traceback" not in printed, printed[-2000:]
    assert before == {p: p.read_bytes() for p in output.glob("model*.pth")}
    path.unlink()
    if path.name != "last_checkpoint":
        (output / "last_checkpoint").unlink(missing_ok=True)
    return True


def last_name(output):
    try:
        return last_checkpoint(output).name
    except ValueError:  # an InputError: the file names no file of its folder
        return ""


def results(output):
    """results.json without what differs from run to run."""
    content = json.loads((output / "results.json").read_text())
    return {k: {n: x for n, x in v.items() if n != "seconds"} if isinstance(v, dict) else v for k, v in content.items()}


def trial(number, folder):
    """Runs a trial; returns what it was, and "fault": "" if the run ends as the undisturbed one does."""
    draw, began = random.Random(number), time.monotonic()
    side, processes, kind = draw.choice(sorted(SIDES)), draw.choice((1, 1, 2)), draw.choice(KINDS)
    reference, seconds = undisturbed(folder, side, processes)
    output = folder / f"trial_{number}"
    run, refused, stops, left, fault = (folder, side, processes, output), 0, 0, 0, ""
    shutil.rmtree(output, ignore_errors=True)
    try:
        for _ in range(draw.randint(1, 3)):
            codes, printed, waiting = disturbed_start(draw, kind, seconds, *run)
            left += waiting
            assert "Traceback" not in printed, printed[-2000:]
            if codes == [0] * processes and (output / "results.json").is_file():
                break  # the run was over before
            stops += 1
            torn = tear(draw, output) if kind == "tear" and output.is_dir() else None
            refused += bool(torn and refuse_torn(*run, torn))
        codes, printed = start(*run)
        assert codes == [0] * processes, f"{codes}: {printed[-2000:]}"
        files = ("model_final.pth", "model_best.pth", "model_ema.pth")
        assert_same_files(reference, output, [name for name in files if (reference / name).is_file()])
        assert_same(results(reference), results(output), "results.json")
        shutil.rmtree(output)
    except (AssertionError, OSError) as e:
        fault = str(e) or "differs"
    found = {"side": side, "processes": processes, "kind": kind, "stops": stops, "refused": refused, "left": left}
    return found | {"fault": fault, "seconds": round(time.monotonic() - began, 1)}


def counts(trials):
    """Kind of disturbance, side and number of processes -> how many of how many trials ended the same."""
    found = {}
    for group in ("all", *sorted(SIDES), "1", "2", *sorted(set(KINDS))):
        chosen = [t for t in trials.values() if group in ("all", t["side"], str(t["processes"]), t["kind"])]
        found[group] = {"identical": sum(not t["fault"] for t in chosen), "trials": len(chosen)}
        found[group] |= {key: sum(t[key] for t in chosen) for key in ("stops", "left")}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25, help="time after which no further trial begins")
    parser.add_argument("--output", type=Path, default=Path("output/chaos"), help="folder; the same goes on")
    parser.add_argument("--trial", type=int, help="run this trial alone")
    args = parser.parse_args()
    folder, began = args.output.absolute(), time.monotonic()
    sys.path.insert(0, str(PROJECT / "tools"))
    if not (folder / "data" / "annotations" / "val.json").is_file():
        make_shapes(folder / "data", train=12, test=8, seed=0)
    if args.trial is not None:
        print(trial(args.trial, folder))
        return 0
    trials = (json_or_none(folder / "chaos.json") or {"trials": {}})["trials"]
    while time.monotonic() - began < 60 * args.minutes:
        number = len(trials)
        trials[str(number)] = found = trial(number, folder)
        write_json({"counts": counts(trials), "trials": trials}, folder / "chaos.json")
        print(number, found, flush=True)
    for group, count in counts(trials).items():
        same = f"{count['identical']} of {count['trials']} identical"
        print(f"{group:12} {same}, stopped {count['stops']} times, {count['left']} left")
    return 1 if any(t["fault"] for t in trials.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
