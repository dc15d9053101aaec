"""Does it matter for accuracy whether images are resized with antialiasing? cifar_resnet20 on CIFAR-10 at 12 px.

All images are resized to 12 px twice, with antialiasing and without. A network is trained on each set of images with
the same short recipe, and tested on both sets.

benchmarks/accuracy/antialias.py CIFAR10 OUTPUT [--epochs 4] [--size 12]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from PIL import Image
from torchvision.io import write_png
from torchvision.transforms.v2.functional import pil_to_tensor, resize

PROJECT = Path(__file__).parents[2]
WAYS = {"antialiased": True, "aliased": False}


def shrink(source, target, size, antialias):
    """Resizes all images of a folder and writes them as PNG files under the same names.

    Args:
        source: folder with JPEG files.
        target: folder to write to, with the same subfolders.
        size: side of the new images in pixels.
        antialias: whether to resize with antialiasing.
    """
    for path in Path(source).rglob("*.jpg"):
        out = target / path.relative_to(source).with_suffix(".png")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_png(resize(pil_to_tensor(Image.open(path)), [size, size], antialias=antialias), str(out))


def pretrain(*args):
    """Runs tools/pretrain.py with these arguments."""
    command = [sys.executable, PROJECT / "tools" / "pretrain.py", *args, "DATALOADER.NUM_WORKERS", 1]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def main():
    """Trains and tests both networks and prints four errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="CIFAR-10 as a folder of JPEG files: train/CLASS/* and test/CLASS/*")
    parser.add_argument("output", type=Path, help="folder for images and runs")
    parser.add_argument("--epochs", type=int, default=4, help="length of each training (default 4)")
    parser.add_argument("--size", type=int, default=12, help="side of the resized images in pixels (default 12)")
    args = parser.parse_args()
    size = ["CLASSIFICATION.SIZE", args.size, "CLASSIFICATION.RESIZE", args.size, "CLASSIFICATION.PAD", 1]
    recipe = ["--config-file", PROJECT / "configs" / "classification" / "cifar_wrn.yaml", "--arch", "cifar_resnet20"]
    schedule = ["CLASSIFICATION.SCHEDULE_SCALE", args.epochs / 200, "CLASSIFICATION.EVAL_EPOCHS", 0]
    for name, antialias in WAYS.items():
        shrink(args.data, args.output / name, args.size, antialias)
        run = args.output / f"run_{name}"
        pretrain("--data", args.output / name, *recipe, *schedule, *size, "OUTPUT_DIR", run)
    print(f"top-1 error in %, {args.size} px, {args.epochs} epochs")
    for trained in WAYS:
        for tested in WAYS:
            out = args.output / f"{trained}_{tested}"
            weights = args.output / f"run_{trained}" / "model_final.pth"
            test = ["--eval-only", "--data", args.output / tested, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", out]
            pretrain(*recipe, *test, *size)
            error = json.loads((out / "results.json").read_text())["top1_error"]
            print(f"trained {trained:12} tested {tested:12} {error:.2f}")


if __name__ == "__main__":
    main()
