"""Accuracy and speed of a classifier in an exported file, on the user's data."""

from __future__ import annotations

import statistics
import tempfile
import time

from backbones.portable.files import Session
from backbones.portable.precision import Measure, Score
from backbones.weights.load import spec_of
from backbones.weights.read import read_weights
from classification.config import default_config
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.config import merge_config

import torch
from torch import Tensor, nn


class _RuntimeClassifier(nn.Module):
    """A session, called like a `Classifier`."""

    def __init__(self, session: Session):
        super().__init__()
        self.session = session
        self.seconds: list[float] = []

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        images = batch["image"].permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
        start = time.perf_counter()
        (logits,) = self.session(images)
        self.seconds.append((time.perf_counter() - start) / len(images))
        return torch.from_numpy(logits)


def measure_classifier(source: str, arch: str, data: str) -> Measure:
    """What scores files of a classifier by top-1 accuracy.

    Args:
        source: the file of weights that the files are made of.
        arch: name of the network, if the file does not name it.
        data: folder with val/CLASS/*. Images are resized and cropped as torchvision does at the network's size.

    Raises:
        InputError: the data cannot be read, or have other classes than the file.
    """
    weights = read_weights(source, arch)
    spec, cfg = spec_of(weights, arch), default_config()
    merge_config(cfg, "classification/imagenet", [])
    size = weights.input_size or spec.input_size
    c = cfg.CLASSIFICATION
    c.ARCH, c.DATA, c.SIZE, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = spec.name, data, size, str(source), "cpu"
    c.RESIZE = round(size * 256 / 224) if spec.pyramid else size
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        plan = prepare(cfg, eval_only=True)

    def measure(session: Session) -> Score:
        model = _RuntimeClassifier(session)
        results = ClassificationTrainer.test(plan.cfg, model)
        milliseconds = 1000 * statistics.median(model.seconds[1:] or model.seconds)
        return Score("top-1 accuracy", 100 - results["val"]["top1_error"], data, results["val"]["images"], milliseconds)

    return measure
