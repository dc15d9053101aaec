"""Does any cost grow faster than its work?

Each row does one job with more and more work, and takes the median processor time of a few runs, on one core. The
exponent of a step from one amount of work to the next is log(time ratio) / log(work ratio): 1 is linear, 0 is a cost
that does not depend on the work. Memory is what Python and numpy hold at most; torch's is not counted.

benchmarks/cost_against_work.py
"""

import argparse
import contextlib
import io
import itertools
import math
import statistics
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path

from backbones.catalogue import get_spec
from detection.build import build_detector
from detection.trainer import DetectionTrainer

import torch
from detectron2.data import DatasetCatalog
from harness import write
from made_up import registered
from torch.nn.functional import cross_entropy

RUNS = 3  # whose median counts, after one that does not


@contextlib.contextmanager
def inference(side, regions=200, config="faster_rcnn_resnet18_fpn.yaml"):
    """Inference on a square image, by a detector with random weights that keeps a number of regions."""
    options = ["MODEL.DEVICE", "cpu", "MODEL.RPN.POST_NMS_TOPK_TEST", regions, "MODEL.RPN.NMS_THRESH", 0.99]
    options += ["MODEL.ROI_HEADS.NUM_CLASSES", 20, "MODEL.RPN.PRE_NMS_TOPK_TEST", 2000, "DATASETS.CLASSES", ()]
    model = build_detector(config, "", options)
    images = [{"image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8)}]
    with torch.no_grad():
        yield lambda: model(images)


@contextlib.contextmanager
def training_step(count):
    """A training step of a classifier, forward and backward."""
    network = get_spec("resnet18").build(10).train()
    images, labels = torch.randn(count, 3, 96, 96), torch.arange(count) % 10
    yield lambda: cross_entropy(network(images), labels).backward()


@contextlib.contextmanager
def evaluation(images, classes=80):
    """All that an evaluation computes by default, with 7 objects and 100 detections in an image."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        cfg, _, outputs = registered(Path(folder), images, classes)
        (name,) = cfg.DATASETS.TEST
        records = DatasetCatalog.get(name)

        def evaluate():
            evaluator = DetectionTrainer.build_evaluator(cfg, name)
            evaluator.reset()
            evaluator.process(records, outputs)
            return evaluator.evaluate()

        yield evaluate


C4 = "faster_rcnn_resnet18.yaml"
# Job, amounts, the power of the amount that the work is, what prepares the job.
JOBS = (
    ("FPN detector, one image, by its side in px", (256, 384, 512, 768, 1024), 2, inference),
    ("training step of resnet18 at 96 px, by images in the batch", (4, 8, 16, 32, 64), 1, training_step),
    ("FPN detector, by regions", (100, 200, 400, 800, 1600), 1, partial(inference, 256)),
    ("C4 detector, by regions", (50, 100, 200, 400, 800), 1, partial(inference, 256, config=C4)),
    ("evaluation with all metrics, by images", (250, 500, 1000, 2000, 4000), 1, evaluation),
    ("evaluation with all metrics, 500 images, by classes", (20, 80, 320, 1280), 1, partial(evaluation, 500)),
)


def measure(prepare, amount):
    """The median processor time of a job in s, and the memory that Python and numpy take at most, in MB."""
    torch.manual_seed(0)
    with prepare(amount) as job:
        job()
        seconds = []
        for _ in range(RUNS):
            start = time.process_time()
            job()
            seconds.append(time.process_time() - start)
        tracemalloc.start()
        job()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    return statistics.median(seconds), peak


def row_of(name, amounts, power, prepare):
    """The figures of one job, printed."""
    figures = [measure(prepare, amount) for amount in amounts]
    seconds, megabytes = map(list, zip(*figures, strict=True))
    steps = itertools.pairwise(zip(amounts, seconds, strict=True))
    exponents = [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) / power for a, b in steps]
    row = {"job": name, "amounts": list(amounts), "power": power, "exponents": exponents}
    row |= {"seconds": seconds, "megabytes": megabytes}
    print(row, flush=True)
    return row


def main():
    """Measures all jobs and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    write(__doc__.splitlines()[0], [row_of(*job) for job in JOBS])


if __name__ == "__main__":
    main()
