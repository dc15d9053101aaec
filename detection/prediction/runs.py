"""Predicts on files: images or a video in, a folder of predictions out."""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from backbones.errors import InputError
from backbones.whole_files import whole_file
from detection.prediction.detections import Detections
from detection.prediction.folder import PredictionFolder
from detection.prediction.images import pixels_of
from detection.prediction.sources import Images, Video
from detection.prediction.video import Frames, video_file
from residet.progress import progress

import numpy as np
from PIL import Image

_READERS = 2  # threads that decode images while the network runs


class Detector(Protocol):
    """What predicts: detection.Predictor."""

    batch_size: int
    classes: Sequence[str]

    def read(self, image: Any, channels: str | None = None) -> Any: ...

    def detect(self, images: Sequence[Any]) -> list[Detections]: ...


def check_output(output: str | Path, images: Images) -> None:
    """Raises InputError if results in the folder `output` would come between the user's images."""
    output = Path(output).resolve()
    for folder in images.folders:
        if output.is_relative_to(folder.resolve()):
            raise InputError(f"--output: {output} lies in the input folder {folder}; name a folder outside of it")
    for path in images.paths:
        if path.resolve().is_relative_to(output):
            raise InputError(f"--output: {output} holds the input {path}; name another folder")


def predict_images(detector: Detector, images: Images, results: PredictionFolder, *, pictures: bool) -> str:
    """Detects objects in image files that `results` does not hold yet, and writes the results.

    A broken image is noted and passed over.

    Args:
        detector: the detector.
        images: the files.
        results: folder of the results.
        pictures: whether to draw the detections of each image.

    Returns:
        a line with the number of images and of objects.

    Raises:
        InputError: at the end, if images are broken; the message gives the number and names the first.
    """
    todo = [path for path in images.paths if not results.is_done(images.name(path))]
    bar = progress(total=len(images.paths), initial=len(images.paths) - len(todo), desc="predict", unit="img")
    window = detector.batch_size * 4
    with bar, contextlib.closing(_read_ahead(detector, todo, window)) as reads:
        while batch := list(itertools.islice(reads, window)):
            whole = []
            for path, future in batch:
                try:
                    whole.append((path, future.result()))
                except InputError as e:
                    results.add_broken(images.name(path), e)
            for (path, _), detections in zip(whole, detector.detect([image for _, image in whole]), strict=True):
                if pictures:
                    _save_picture(detections, path, results.pictures / images.name(path))
                results.add(images.name(path), detections)
            bar.update(len(batch))
    names = [images.name(path) for path in images.paths]
    line = results.write_results(names)
    broken = [results.done[name]["error"] for name in names if "error" in results.done[name]]
    if broken:
        raise InputError(f"{len(broken)} of {len(names)} images could not be read, first {broken[0]}. Done: {line}")
    return line


def _read_ahead(detector: Detector, paths: Sequence[Path], ahead: int) -> Iterator[tuple[Path, Future]]:
    """Each path with its image, which threads read; at most `ahead` images wait."""
    with ThreadPoolExecutor(_READERS) as pool:
        waiting: collections.deque[tuple[Path, Future]] = collections.deque()
        rest = iter(paths)
        try:
            while True:
                for path in itertools.islice(rest, ahead - len(waiting)):
                    waiting.append((path, pool.submit(detector.read, path)))
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()


def _save_picture(detections: Detections, path: Path, target: Path) -> None:
    """Writes the picture in the format of the image itself, so that no two images share a name."""
    picture = Image.fromarray(detections.drawn_on(pixels_of(path, "RGB")))
    kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
    with whole_file(target) as partial, partial.open("wb") as file:
        picture.save(file, kind)


def predict_video(
    detector: Detector, video: Video, results: PredictionFolder, *, pictures: bool, frames: int = 0
) -> str:
    """Detects objects in the frames of a video or a camera, and writes the results.

    The frames that `results` holds from a stopped command are drawn, but not looked at again.

    Args:
        detector: the detector.
        video: the file or the camera.
        results: folder of the results.
        pictures: whether to write a video with the detections drawn.
        frames: number of frames to take; 0 takes all. A camera also ends with Ctrl-C, and its results are written.

    Returns:
        a line with the number of images and of objects.

    Raises:
        InputError: the video cannot be opened or has no frame that can be read, or `results` holds another recording of
            a camera.
    """
    if isinstance(video.opened, int) and results.done:
        raise InputError(f"--output: {results.folder} holds an earlier recording of a camera; name another folder")
    source = Frames(video)
    names = []
    total = min(frames, source.count or frames) if frames else source.count
    target = results.pictures / f"{Path(video.name).stem}.mp4"
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(video_file(target, source.rate)) if pictures else None
        bar = stack.enter_context(progress(total=total, desc="predict", unit="frame"))
        try:
            for i, frame in enumerate(itertools.islice(source, frames or None)):
                name = f"{video.name}#{i:06}"
                detections = _frame_detections(detector, frame, name, results)
                names.append(name)
                if write:
                    write(detections.drawn_on(frame))
                bar.update()
        except KeyboardInterrupt:
            if isinstance(video.opened, str) or not names:
                raise
        if not names:
            raise InputError(f"{video.opened}: has no frame that OpenCV can read; convert the video to .mp4")
    return results.write_results(names)


def _frame_detections(detector: Detector, frame: np.ndarray, name: str, results: PredictionFolder) -> Detections:
    if results.is_done(name):
        return Detections.from_dict(results.done[name], results.classes, frame, "RGB")
    (detections,) = detector.detect([detector.read(frame, "RGB")])
    results.add(name, detections)
    return detections
