"""The public way to detect objects with a trained detector: a file, a call, detections."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import InputError
from detection.engines import RUNTIMES, is_exported, runtime_engine, torch_engine
from detection.prediction.detections import Detections, class_indices
from detection.prediction.images import ImageSource, pixels_of

import torch
from detectron2.structures import Instances

# Number of batches whose images are read before the first batch runs, so that images of one size can share a batch.
_READ_AHEAD = 4


@dataclass(frozen=True)
class ReadImage:
    """An image as `Predictor.read` gives it.

    Attributes:
        entry: {"image": (3, H', W') uint8, "height": H, "width": W}, the network's input and the size of the image.
        source: the image as it was given.
        channels: order of the channels of `source` if `source` is an array or a tensor.
    """

    entry: dict
    source: ImageSource
    channels: str | None


class Predictor:
    """Detects objects in images, as an evaluation of the same checkpoint does.

        predict = Predictor("output/detection/model_final.pth", score_threshold=0.5)
        detections = predict("street.jpg")
        detections.boxes, detections.scores, detections.names  # (N, 4) x0, y0, x1, y1 in pixels; (N,); ["car", …]
        detections.draw().save("street_found.jpg")
        predict(["a.jpg", "b.jpg"])  # a list gives a list
        predict(cv2.imread("c.jpg"), channels="BGR")

    Several threads may call one Predictor: reading and resizing run in parallel, the network runs for one call at a
    time.

    Args:
        source: a checkpoint of `tools/train_net.py`, which says how its detector is built; or a config file.
            Or a file of `tools/export.py`, .onnx or .xml.
        weights: with a config file, the detector's weights: for a checkpoint of an older version or of detectron2.
        backend: what runs the network: "torch", "onnxruntime" or "openvino"; None takes what fits the file. The two
            runtimes take a checkpoint too, which is exported first (half a minute); they run on the CPU, and know
            `tiles` but no `augmentation` and no `options`.
        device: "cpu", "cuda", "cuda:1", …; None takes the GPU where there is one.
        score_threshold: detections with this score or less are left out; None takes the threshold with which the
            checkpoint is evaluated (MODEL.ROI_HEADS.SCORE_THRESH_TEST, 0.05 by default).
        classes: names of the classes to report; None reports all.
        tiles: side of the tiles in which large images are looked at, in pixels (TEST.TILES.SIZE); 0 for no tiles.
        augmentation: whether to look at flipped and resized copies of each image, too (TEST.AUG.ENABLED).
        batch_size: most images that the network takes at once. Only images that have the same size after resizing are
            in one batch, since padding would change their detections.
        options: further KEY, VALUE, … pairs that override the checkpoint's config.

    Attributes:
        classes: names of the detector's classes.
        batch_size: the argument.

    Raises:
        InputError: the file cannot be read or says too little, or an option cannot be used.
    """

    def __init__(
        self,
        source: str | Path,
        weights: str | Path | None = None,
        *,
        backend: str | None = None,
        device: str | None = None,
        score_threshold: float | None = None,
        classes: Sequence[str] | None = None,
        tiles: int = 0,
        augmentation: bool = False,
        batch_size: int = 4,
        options: Sequence = (),
    ):
        if batch_size < 1:
            raise InputError(f"batch_size: {batch_size} images are no batch; give 1 or more")
        if tiles < 0:
            raise InputError(f"tiles: {tiles} pixels are no side of a tile; give 0 for no tiles, or a side")
        self.batch_size = batch_size
        self._lock = threading.Lock()
        keys = [*_options(device, score_threshold, tiles, augmentation), *options]
        if is_exported(source) or backend in RUNTIMES:
            if device not in (None, "cpu") or augmentation or options or weights is not None:
                raise InputError(
                    f"{source}: with {backend or 'an exported file'} there are no weights, device, augmentation and "
                    "options; leave them out, or use a checkpoint and backend torch"
                )
            self._engine = runtime_engine(source, backend, score_threshold, tiles)
        elif backend in (None, "torch"):
            self._engine = torch_engine(source, weights, keys)
        else:
            raise InputError(f"backend: {backend!r} is none of torch, {', '.join(RUNTIMES)}; choose one of these")
        self.classes = self._engine.classes
        self._kept = None if classes is None else torch.tensor(class_indices(classes, self.classes))

    def __call__(
        self, images: ImageSource | Iterable[ImageSource], channels: str | None = None
    ) -> Detections | list[Detections]:
        """The detections of an image, or a list of the detections of each of several images.

        Args:
            images: an image, or a list of images. An image is a path, the bytes of an image file, a PIL image, a numpy
                array (H, W, 3) or (H, W) uint8, or a torch tensor (3, H, W) or (1, H, W) uint8.
            channels: order of the channels of arrays and tensors, "RGB" (PIL, torchvision) or "BGR" (OpenCV).

        Raises:
            InputError: an image cannot be decoded or has another form; the message names the image.
        """
        if isinstance(images, ImageSource):
            return next(self.stream([images], channels))
        return list(self.stream(images, channels))

    def stream(self, images: Iterable[ImageSource], channels: str | None = None) -> Iterator[Detections]:
        """The detections of each image in turn, for more images than fit into memory; otherwise as `__call__`."""
        images = iter(images)
        while window := list(itertools.islice(images, self.batch_size * _READ_AHEAD)):
            yield from self.detect([self.read(image, channels) for image in window])

    def read(self, image: ImageSource, channels: str | None = None) -> ReadImage:
        """Decodes an image and resizes it for the network: the part of a call that several threads do at a time.

        Raises:
            InputError: as `__call__`.
        """
        entry = self._engine.prepare(pixels_of(image, self._engine.order, channels))
        return ReadImage(entry, image, channels)

    def detect(self, images: Sequence[ReadImage]) -> list[Detections]:
        """The detections of images that `read` gave, in their order."""
        detections: list[Detections | None] = [None] * len(images)
        for batch in _batches([tuple(image.entry["image"].shape) for image in images], self.batch_size):
            with self._lock, torch.no_grad():
                outputs = self._engine.detect([images[i].entry for i in batch])
            for i, output in zip(batch, outputs, strict=True):
                detections[i] = self._detections(output["instances"].to("cpu"), images[i])
        return detections

    def _detections(self, instances: Instances, image: ReadImage) -> Detections:
        if self._kept is not None:
            instances = instances[torch.isin(instances.pred_classes, self._kept)]
        columns = (instances.pred_boxes.tensor, instances.scores, instances.pred_classes)
        size = image.entry["height"], image.entry["width"]
        return Detections(*(c.numpy() for c in columns), self.classes, size, image.source, image.channels)


def _options(device: str | None, score_threshold: float | None, tiles: int, augmentation: bool) -> list:
    """The KEY, VALUE, … pairs that the arguments of a Predictor stand for.

    Raises:
        InputError: an argument cannot be used.
    """
    options = []
    if device is not None:
        try:
            kind = torch.device(device).type
        except RuntimeError as e:
            raise InputError(f"device: {device!r} is no device; give cpu, cuda or cuda:1") from e
        if kind == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device: {device} was asked for, but torch finds no GPU; give cpu")
        options += ["MODEL.DEVICE", device]
    if score_threshold is not None:
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold: {score_threshold} is no score; give a number from 0 to 1")
        for key in ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.RETINANET.SCORE_THRESH_TEST"):
            options += [key, float(score_threshold)]
    if tiles:
        options += ["TEST.TILES.SIZE", tiles]
    if augmentation:
        options += ["TEST.AUG.ENABLED", True]
    return options


def _batches(shapes: Sequence[tuple], size: int) -> Iterator[list[int]]:
    """Indices of images of one shape, at most `size` at a time."""
    by_shape: dict[tuple, list[int]] = {}
    for i, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(i)
    for indices in by_shape.values():
        yield from (indices[i : i + size] for i in range(0, len(indices), size))
