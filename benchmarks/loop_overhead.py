"""How much time does a training loop take beside the model, the update and the loader, against a bare loop over them?

The bare loop has the same loader, model, optimizer and precision, and neither hooks, metrics, progress bar nor checks.
Drawn data: shapes for the detector, their crops for the classifier. One thread, no worker processes.

benchmarks/loop_overhead.py
"""

import argparse
import tempfile
from pathlib import Path

import classification.config
import detection.config
from classification.prepare import prepare as prepare_classification
from classification.trainer import ClassificationTrainer
from detection.data.synthetic import make_shapes
from detection.prepare import prepare as prepare_detection
from detection.trainer import DetectionTrainer
from residet.config import merge_config

import torch
from detectron2.utils.events import EventStorage
from harness import Job, compare, write

PAIRS = 5
COMMON = ["DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "SOLVER.CHECKPOINT_PERIOD", 10**6, "TEST.EVAL_PERIOD", 0]
# A constant learning rate, as a bare loop has.
COMMON += ["SOLVER.WARMUP_ITERS", 0, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", ()]


class Classification(ClassificationTrainer):
    """A pretraining that does not evaluate."""

    @classmethod
    def test(cls, cfg, model):
        return {}


class Detection(DetectionTrainer):
    """A fine-tuning that does not evaluate."""

    @classmethod
    def test(cls, cfg, model):
        return {}


def classification_trainer(data, output, iterations):
    """cifar_resnet20 on crops of 32 px, in batches of 64."""
    cfg = classification.config.default_config()
    opts = ["CLASSIFICATION.EPOCHS", 0, "CLASSIFICATION.EVAL_EPOCHS", 0, "SOLVER.IMS_PER_BATCH", 64]
    opts += ["CLASSIFICATION.STEP_EPOCHS", (), "SOLVER.MAX_ITER", iterations, "OUTPUT_DIR", output, *COMMON]
    merge_config(cfg, "classification/cifar_resnet", opts)
    cfg.CLASSIFICATION.ARCH, cfg.CLASSIFICATION.DATA = "cifar_resnet20", str(data / "crops")
    return Classification(prepare_classification(cfg, eval_only=False))


def detection_trainer(data, output, iterations):
    """Faster R-CNN on resnet18 with a feature pyramid, in batches of 2 images of 128 px."""
    cfg = detection.config.default_config()
    opts = ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", iterations, "OUTPUT_DIR", output, "TEST.PICTURES", 0, *COMMON]
    merge_config(cfg, "demo/faster_rcnn_resnet18_fpn", opts)
    cfg.MODEL.WEIGHTS = ""
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ((str(data / f"annotations/{split}.json"),) for split in ("train", "val"))
    return Detection(prepare_detection(cfg, eval_only=False))


def job_of(name, build, data, iterations, folder):
    """The job of one side. Trainers are built beforehand: a trainer trains once."""
    trainers = [build(data, str(folder / f"{name}_{i}"), iterations) for i in range(2 * (PAIRS + 1))]
    for trainer in trainers[1:]:
        trainer.model.load_state_dict(trainers[0].model.state_dict())
    ours_left, bare_left = trainers[::2], trainers[1::2]

    def ours():
        torch.manual_seed(0)
        trainer = ours_left.pop()
        assert trainer.train()
        return trainer.storage.history("total_loss").latest()

    def bare():
        torch.manual_seed(0)
        trainer = bare_left.pop()
        model, optimizer, batches = trainer.model.train(), trainer.optimizer, iter(trainer.step.data_loader)
        with EventStorage():  # detectron2's heads write their metrics there
            for _ in range(iterations):
                losses = model(next(batches))
                loss = sum(losses.values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return loss.item()

    return Job(name, ours, bare, "a bare loop", agree, "the last loss within 1e-4", 0.97, PAIRS)


def agree(a, b):
    """The losses of the last iteration."""
    assert abs(a - b) < 1e-4, (a, b)


def main():
    """Measures both sides and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_shapes(folder / "data", train=200, test=4, seed=0)
        sides = {"classification": classification_trainer, "detection": detection_trainer}
        rows = [
            compare(job_of(f"{side}, {args.iterations} iterations", build, folder / "data", args.iterations, folder))
            for side, build in sides.items()
        ]
    write(__doc__.splitlines()[0], rows)


if __name__ == "__main__":
    main()
