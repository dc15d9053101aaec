"""Shows with which settings of configs/classification/cifar10.yaml the loss rises at the start of a pretraining.

Each row is a short pretraining at 48 px, in batches of 64 and bfloat16: the settings of a variant, else the recipe's.
The rate warms up for a quarter of the iterations, and then falls to zero. The loss at the start is the mean of the
first five iterations. The highest loss is the highest median of 20 iterations in a row, as the warning of a diverging
run takes it. A finished row is not repeated: the same command goes on.

benchmarks/accuracy/pretraining_start.py --data CIFAR10 --output output/pretraining_start.json
benchmarks/accuracy/pretraining_start.py --data CIFAR10 --archs resnet50 --variants recipe "not clipped"
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from backbones.whole_files import json_or_none, write_json
from classification.config import default_config
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.config import merge_config
from residet.fingerprint import origin

SIX = ("resnet50", "wrn34_2", "resnext50_32x4d", "wrn50_2_bottleneck", "resnet101", "resnext101_32x4d")
WINDOW = 20  # iterations whose median is the loss
CLOSED, OPEN = (["CLASSIFICATION.RESIDUAL_SCALE", scale] for scale in (0.0, 1.0))
NOT_CLIPPED = ["SOLVER.CLIP_GRADIENTS.ENABLED", False]
PLAIN = ["SOLVER.BASE_LR", 0.1, "SOLVER.WARMUP_FACTOR", 1.0, "CLASSIFICATION.LABEL_SMOOTHING", 0.0]
# Name of a variant -> its settings. A rate is for a batch of 128, half of it for the 64 here.
VARIANTS = {
    "recipe": [],
    "blocks start closed": CLOSED,
    "blocks start open": OPEN,
    "rate 0.1": ["SOLVER.BASE_LR", 0.1],
    "not clipped": NOT_CLIPPED,
    "rate 0.1 from the first iteration, open, not clipped": [*PLAIN, *OPEN, *NOT_CLIPPED],
}


class WithoutTest(ClassificationTrainer):
    """A pretraining that does not evaluate: the loss is all that counts here."""

    @classmethod
    def test(cls, cfg, model):
        return {}


def losses(arch, variant, args, folder):
    """The loss of each iteration, up to one that is not finite."""
    cfg = default_config()
    opts = ["CLASSIFICATION.SIZE", 48, "CLASSIFICATION.RESIZE", 48, "CLASSIFICATION.PAD", 6]
    opts += ["CLASSIFICATION.EPOCHS", 0, "CLASSIFICATION.WARMUP_EPOCHS", 0, "CLASSIFICATION.EVAL_EPOCHS", 0]
    opts += ["SOLVER.IMS_PER_BATCH", 64, "SOLVER.MAX_ITER", args.iterations]
    opts += ["SOLVER.WARMUP_ITERS", args.iterations // 4, "CLASSIFICATION.CHANNELS_LAST", True]
    opts += ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16", "TEST.BEST_METRIC", ""]
    opts += ["SOLVER.CHECKPOINT_PERIOD", 10**6, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
    merge_config(cfg, "classification/cifar10", [*opts, "OUTPUT_DIR", folder, "SEED", args.seed, *VARIANTS[variant]])
    cfg.CLASSIFICATION.ARCH, cfg.CLASSIFICATION.DATA = arch, args.data
    trainer = WithoutTest(prepare(cfg, eval_only=False))
    with contextlib.suppress(FloatingPointError):
        trainer.train()
    return [value for value, _ in trainer.storage.history("total_loss").values()]


def row_of(arch, variant, args):
    """What the start of one pretraining shows."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        of_run = losses(arch, variant, args, folder)
    medians = [statistics.median(of_run[i : i + WINDOW]) for i in range(5, len(of_run) - WINDOW + 1)]
    content = {"network": arch, "variant": variant, "seed": args.seed, "iterations": len(of_run)}
    content |= {"start": statistics.fmean(of_run[:5]), "highest": max(medians), "last": medians[-1]}
    return content | {"seconds": time.perf_counter() - start}


def main():
    """Runs the rows that --output does not have, and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR", help="CIFAR-10 as train/CLASS/* and test/CLASS/*")
    parser.add_argument("--output", type=Path, default=Path("output/pretraining_start.json"))
    parser.add_argument("--archs", nargs="+", default=SIX)
    parser.add_argument("--variants", nargs="+", default=["recipe"], choices=VARIANTS)
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = (json_or_none(args.output) or {"rows": []})["rows"]
    done = {(row["network"], row["variant"], row["seed"]) for row in rows}
    for arch in args.archs:
        for variant in args.variants:
            if (arch, variant, args.seed) not in done:
                rows.append(row_of(arch, variant, args))
                print(rows[-1], flush=True)
                write_json({"rows": rows} | origin(), args.output)


if __name__ == "__main__":
    main()
