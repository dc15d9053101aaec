"""Bad values and damaged files without end: `make fuzz MINUTES=30`. Every case follows from its seed.

A case holds if the tool ends with code 0, or with code 2 and one message: no traceback, no control characters, nothing
of the user's changed.

PYTHONPATH=.:tests/helpers python tests/guard/fuzz.py --minutes 30 --seed 0
PYTHONPATH=.:tests/helpers python tests/guard/fuzz.py --case 1234
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from backbones.api import create_network
from classification.schema.table import TABLE as CLASSIFICATION
from detection.data.synthetic import make_shapes
from detection.schema.table import TABLE as DETECTION

import torch
import yaml
from bad_values import bad_values
from run_tools import PROJECT, run_tool

ARCH = "cifar_resnet20"
CONFIGS = {
    "pretrain.py": "configs/demo/pretrain_resnet18.yaml",
    "train_net.py": "configs/bccd/resnet18_fpn.yaml",
}


def make_world(folder):
    """Data and a checkpoint, which the cases damage copies of."""
    make_shapes(folder / "shapes", train=8, test=4, seed=0)
    state = create_network(ARCH, num_classes=5).state_dict()
    torch.save({"model": state, "task": "classification", "arch": ARCH, "mean": [1.0] * 3}, folder / "good.pth")


def value_case(draw, world, folder):
    """A bad value in a config file or on the command line."""
    name, table = draw.choice([("pretrain.py", CLASSIFICATION), ("train_net.py", DETECTION)])
    key = draw.choice(list(table))
    value = draw.choice(bad_values(table[key].kind))
    file, opts = folder / "config.yaml", []
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    in_file = draw.random() < 0.5 or not isinstance(value, int | float) or value != value
    base = {"_BASE_": str(PROJECT / CONFIGS[name])}
    file.write_text(yaml.safe_dump(base | nested if in_file else base, allow_unicode=False), encoding="utf-8")
    opts += [] if in_file else [key, value]
    return name, [*data_of(name, world), "--config-file", file, "OUTPUT_DIR", folder / "run", *opts], {2}


def data_of(name, world):
    if name == "pretrain.py":
        return ["--data", world / "shapes" / "crops"]
    annotations = world / "shapes" / "annotations"
    return ["--train", annotations / "train.json", "--val", annotations / "val.json"]


def damaged(draw, content):
    """Bytes with some changed, cut out, doubled or put in."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        place = draw.randrange(len(content)) if content else 0
        end = min(place + draw.choice((1, 1, 4, 64, 4096)), len(content))
        kind = draw.randrange(4)
        if kind == 0:
            content[place:end] = draw.randbytes(end - place)
        elif kind == 1:
            del content[place:end]
        elif kind == 2:
            content[place:place] = content[place:end]
        else:
            content[place:place] = draw.choice((b"\x1b[31m", b"\0", b"NaN", b"-1", b"[" * 99, b"1e999", b"null", b'"'))
    return bytes(content)


def config_case(draw, world, folder):
    """A damaged config file; the weights that it should evaluate are missing, so that no run starts."""
    name = draw.choice(list(CONFIGS))
    file = folder / "config.yaml"
    file.write_bytes(damaged(draw, (PROJECT / CONFIGS[name]).read_bytes()))
    weights = ["MODEL.WEIGHTS", folder / "missing.pth", "OUTPUT_DIR", folder / "run"]
    return name, [*data_of(name, world), "--config-file", file, "--eval-only", *weights], {2}


def weights_case(draw, world, folder):
    """A damaged checkpoint is evaluated, or refused."""
    (folder / "w.pth").write_bytes(damaged(draw, (world / "good.pth").read_bytes()))
    opts = ["CLASSIFICATION.ARCH", ARCH, "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0]
    weights = ["MODEL.WEIGHTS", folder / "w.pth", "OUTPUT_DIR", folder / "run"]
    config = ["--config-file", CONFIGS["pretrain.py"]]
    return "pretrain.py", [*data_of("pretrain.py", world), *config, "--eval-only", *opts, *weights], {0, 2}


def annotation_case(draw, world, folder):
    """A damaged annotation file is inspected, or refused."""
    file = folder / "a.json"
    file.write_bytes(damaged(draw, (world / "shapes" / "annotations" / "val.json").read_bytes()))
    source = f"{file}:{world / 'shapes' / 'images' / 'val'}"
    return "inspect_data.py", [source, "--samples", 0, "--output", folder / "report"], {0, 2}


CASES = (value_case, value_case, config_case, weights_case, annotation_case)


def run_case(seed, world):
    """What is wrong with the way in which the case of that seed ends; "" where nothing is."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tool, args, codes = draw.choice(CASES)(draw, world, folder)
        done = run_tool(tool, *args)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    faults = ["traceback"] * ("Traceback" in done.stderr) + ["control characters"] * ("\x1b[31m" in done.stderr)
    if done.returncode not in codes or (done.returncode == 2) != (len(errors) == 1):
        faults.append(f"exit code {done.returncode}, {len(errors)} messages")
    return f"{', '.join(faults)}: {tool} {' '.join(map(repr, args))}\n{done.stderr[-2000:]}" if faults else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="time to go on for")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first case; by default, of the time")
    parser.add_argument("--case", type=int, default=None, help="run the case of this seed alone")
    args = parser.parse_args()
    first = args.seed if args.seed is not None else int(time.time()) * 1000
    start, count, failed = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        make_world(Path(name))
        while (args.case is None and time.monotonic() - start < 60 * args.minutes) or count == 0:
            seed = args.case if args.case is not None else first + count
            count += 1
            if fault := run_case(seed, Path(name)):
                failed += 1
                print(f"case {seed}: {fault}", flush=True)
    print(f"{count} cases from seed {first}, {failed} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
