"""Measures how long the 95 % intervals of AP take: 1000 resamples of a test set of COCO val's size, made up.

benchmarks/bootstrap.py --images 5000
"""

import argparse
import resource
import time

import detection  # noqa: F401  makes `import detectron2` work
from detection.evaluation.bootstrap import RESAMPLES, average_precision, draws, figures, interval, match

import numpy as np
from made_up import made_up


def main():
    """Prints the seconds of matching and of resampling, and the most memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="number of images (default 5000)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="default 1000")
    args = parser.parse_args()
    truth, found = made_up(args.images, np.random.default_rng(0))
    for number, annotation in enumerate(truth["annotations"]):
        annotation["iscrowd"] = int(number % 40 == 0)  # as often as in COCO's val
    start = time.process_time()
    matched = match(truth, found)
    matching = time.process_time() - start
    values = figures(average_precision(matched, draws(args.images, args.resamples)), [])
    resampling = time.process_time() - start - matching
    print(f"{args.images} images, {len(truth['annotations'])} objects, {len(found)} detections")
    print(f"matching {matching:.1f} s, {args.resamples} resamples {resampling:.1f} s")
    estimate = figures(average_precision(matched, np.ones((1, args.images), int)), [])["AP"][0]
    low, high = interval(values["AP"], estimate)
    print(f"AP {estimate:.2f}, {low:.2f} to {high:.2f}")
    print(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
