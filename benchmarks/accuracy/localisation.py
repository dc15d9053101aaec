"""What error has ResNet's localisation at a small scale, beside a box in the middle of every image?

Draws the demo's shapes as ILSVRC's CLS-LOC data, one object in an image, pretrains resnet18 on the whole images, and
trains the per-class RPN and the R-CNN of ResNet's appendix C. Writes OUTPUT/localisation.json. The same command goes on
where it was stopped.

benchmarks/accuracy/localisation.py --output output/localisation
"""

import argparse
import json
import sys
from pathlib import Path

from backbones.whole_files import write_json
from detection.data.synthetic_ilsvrc import make_cls_loc
from residet.cli.exits import exit_code
from residet.fingerprint import origin
from residet.sweep import command_of, finish

PRETRAINING = ["CLASSIFICATION.SIZE", "128", "CLASSIFICATION.RESIZE", "128", "CLASSIFICATION.PAD", "8"]
# The shapes are 22 to 56 px wide in images of 128 px. At twice the size, the map of stride 32 has a place for each.
LOCALISATION = ["LOCALISATION.SIZE", "224", "LOCALISATION.RESIZE", "256", "LOCALISATION.SHORT_SIDE", "(224,288)"]
LOCALISATION += ["LOCALISATION.ANCHOR_SIZES", "(48,96)", "LOCALISATION.HIDDEN", "128", "LOCALISATION.PROPOSALS", "20"]
LOCALISATION += ["LOCALISATION.PREDICTED", "1"]  # there are five classes: with five predictions, one is right
LOCALISATION += ["SOLVER.IMS_PER_BATCH", "16", "SOLVER.STEPS", "()", "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]
LOCALISATION += ["SOLVER.WARMUP_ITERS", "50", "SOLVER.CHECKPOINT_PERIOD", "100"]
EPOCHS, ITERATIONS = "20", "400"  # passes of the pretraining, iterations of each stage
IMAGES = {"train": 800, "val": 200}
FAST = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16", "DATALOADER.NUM_WORKERS", "1"]


def work(args):
    """Draws the data, runs what is missing, and writes the errors."""
    if not (args.output / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt").is_file():  # written last
        make_cls_loc(args.output, **IMAGES)
    classifier, localiser = args.output / "classifier", args.output / "localiser"

    def pretrain(flags):
        return [
            *[*command_of(Path("tools/pretrain.py"), 1), "--arch", "resnet18", "--data", str(args.output / "whole")],
            *["--config-file", "demo/pretrain_resnet18", *flags, *PRETRAINING, *FAST],
            *["CLASSIFICATION.EPOCHS", EPOCHS, "OUTPUT_DIR", str(classifier)],
        ]

    def localise(flags):
        return [
            *[*command_of(Path("tools/localise.py"), 1), "--arch", "resnet18", "--data", str(args.output / "ILSVRC")],
            *["--weights", str(classifier / "model_final.pth"), *flags, *LOCALISATION, *FAST],
            *["SOLVER.MAX_ITER", ITERATIONS, "OUTPUT_DIR", str(localiser)],
        ]

    if finish(pretrain, classifier, None) and finish(localise, localiser, None):
        rows = json.loads((localiser / "results.json").read_text())
        write_json({"rows": rows} | origin(), args.output / "localisation.json")


def main():
    """Parses the command line, and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/localisation"))
    args = parser.parse_args()
    return exit_code(lambda: work(args))


if __name__ == "__main__":
    sys.exit(main())
