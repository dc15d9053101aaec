"""What would make an image's way from a JPEG file into a batch faster? CPU time of decoders, and of normalisation.

benchmarks/decoders.py FOLDER [--runs 7]
"""

import argparse
import io
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

MEAN, STD = torch.tensor([[[123.7]], [[116.3]], [[103.5]]]), torch.tensor([[[58.4]], [[57.1]], [[57.4]]])


def main():
    """Prints the CPU time of each way for an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with JPEG files, also in subfolders")
    parser.add_argument("--runs", type=int, default=7, help="number of passes over the files (default 7)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = [p for p in sorted(Path(args.folder).rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    files = [path.read_bytes() for path in paths]
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    arrays = [np.frombuffer(data, np.uint8) for data in files]
    batch = torch.randint(0, 256, (len(files), 3, 224, 224), dtype=torch.uint8)
    ways = {
        "PIL": lambda: [Image.open(io.BytesIO(data)).convert("RGB") for data in files],
        "torchvision": lambda: [decode_jpeg(t, mode=ImageReadMode.RGB) for t in tensors],
        "OpenCV": lambda: [cv2.imdecode(a, cv2.IMREAD_COLOR_RGB) for a in arrays],
        "OpenCV, half the size": lambda: [cv2.imdecode(a, cv2.IMREAD_REDUCED_COLOR_2) for a in arrays],
        "normalise": lambda: (batch - MEAN) / STD,
        "normalise in place": lambda: batch.to(torch.float32).sub_(MEAN).div_(STD),
    }
    seconds = {name: [] for name in ways}
    for _ in range(args.runs):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    print(f"{len(files)} images, {args.runs} runs; medians")
    for name, values in seconds.items():
        print(f"{name:25} {1000 * statistics.median(values) / len(files):6.2f} ms an image")


if __name__ == "__main__":
    main()
