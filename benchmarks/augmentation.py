"""Which library decodes and augments faster on one core: torchvision.transforms.v2 or albumentations?

Each library decodes JPEG files, takes a random crop of random scale and aspect ratio, resizes the crop to 224 x 224,
flips it at random and gives a (3, 224, 224) uint8 tensor, with and without antialiasing. albumentations has no
antialiased bilinear resize: INTER_AREA, the mean over an area, is its closest method.

benchmarks/augmentation.py FOLDER [--runs 7]
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

PEER = "v2 on PIL, antialias"


def v2_pil():
    """A function path -> tensor, by torchvision on PIL images."""
    augment = v2.Compose([v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    return lambda path: augment(Image.open(path).convert("RGB"))


def v2_tensor(antialias):
    """A function path -> tensor, by torchvision on tensors."""
    augment = v2.Compose([v2.RandomResizedCrop(224, antialias=antialias), v2.RandomHorizontalFlip()])
    return lambda path: augment(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))


def cv2_albumentations(interpolation):
    """A function path -> tensor, by OpenCV and albumentations."""
    augment = albumentations.Compose(
        [
            albumentations.RandomResizedCrop((224, 224), interpolation=interpolation),
            albumentations.HorizontalFlip(),
            albumentations.ToTensorV2(),
        ]
    )
    return lambda path: augment(image=cv2.imread(path, cv2.IMREAD_COLOR_RGB))["image"]


def main():
    """Prints the images per second of each library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with JPEG files, also in subfolders")
    parser.add_argument("--runs", type=int, default=7, help="number of passes over the files (default 7)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = [str(p) for p in sorted(Path(args.folder).rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    jobs = {
        PEER: v2_pil(),
        "v2 on tensors, antialias": v2_tensor(True),
        "v2 on tensors, no antialias": v2_tensor(False),
        "albumentations, INTER_AREA": cv2_albumentations(cv2.INTER_AREA),
        "albumentations, INTER_LINEAR, no antialias": cv2_albumentations(cv2.INTER_LINEAR),
    }
    rates = {name: [] for name in jobs}
    for run in range(args.runs + 1):  # the first only warms up
        for name, job in jobs.items():
            torch.manual_seed(run)
            start = time.perf_counter()
            for path in paths:
                job(path)
            if run:
                rates[name].append(len(paths) / (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(paths)} images, {args.runs} runs, one core; medians")
    for name, rate in median.items():
        print(f"{name:45} {rate:7.1f} images/s {rate / median[PEER]:6.2f} x")


if __name__ == "__main__":
    main()
