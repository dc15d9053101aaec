"""Which library decodes and augments faster on one core: torchvision.transforms.v2 or albumentations?

Each library decodes JPEG files, takes a random crop of random scale and aspect ratio, resizes the crop to 224 x 224,
flips it at random and gives a (3, 224, 224) uint8 tensor, with and without antialiasing. albumentations has no
antialiased bilinear resize: INTER_AREA, the mean over an area, is its closest method.

Then the CPU time of single steps that the way from a JPEG file into a batch could take: decoders, and normalisation.

benchmarks/augmentation.py FOLDER [--runs 7]
"""

import argparse
import io
import os
import statistics
import time
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

PEER = "v2 on PIL, antialias"
MEAN, STD = torch.tensor([[[123.7]], [[116.3]], [[103.5]]]), torch.tensor([[[58.4]], [[57.1]], [[57.4]]])


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


def steps_of(paths):
    """Single steps, each over all files: name -> function."""
    files = [Path(path).read_bytes() for path in paths]
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    arrays = [np.frombuffer(data, np.uint8) for data in files]
    batch = torch.randint(0, 256, (len(files), 3, 224, 224), dtype=torch.uint8)
    return {
        "decode by PIL": lambda: [Image.open(io.BytesIO(data)).convert("RGB") for data in files],
        "decode by torchvision": lambda: [decode_jpeg(t, mode=ImageReadMode.RGB) for t in tensors],
        "decode by OpenCV": lambda: [cv2.imdecode(a, cv2.IMREAD_COLOR_RGB) for a in arrays],
        "decode by OpenCV, half the size": lambda: [cv2.imdecode(a, cv2.IMREAD_REDUCED_COLOR_2) for a in arrays],
        "normalise": lambda: (batch - MEAN) / STD,
        "normalise in place": lambda: batch.to(torch.float32).sub_(MEAN).div_(STD),
    }


def main():
    """Prints the images per second of each library, and the milliseconds of single steps."""
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
    steps = steps_of(paths)
    seconds = {name: [] for name in steps}
    for _ in range(args.runs):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    for name, values in seconds.items():
        print(f"{name:45} {1000 * statistics.median(values) / len(paths):7.2f} ms an image")


if __name__ == "__main__":
    main()
