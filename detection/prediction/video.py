"""Frames of a video or a camera, and a video of pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import whole_file
from detection.prediction.sources import Video

import cv2
import numpy as np


class Frames:
    """The frames of a video file or a camera, each (H, W, 3) uint8 RGB, upright as the file says.

    Args:
        video: the file or the camera.

    Attributes:
        rate: frames for each second, 25 where the video does not say.
        count: number of frames that the file announces; None for a camera.

    Raises:
        InputError: the video or the camera cannot be opened.
    """

    def __init__(self, video: Video):
        self.video = video
        # OpenCV's backends would print why each of them cannot open the video.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = cv2.VideoCapture(video.opened)
        if not self._capture.isOpened():
            if isinstance(video.opened, str):
                raise InputError(f"{video.opened}: OpenCV cannot open this video; convert it to .mp4")
            raise InputError(f"camera:{video.opened}: OpenCV finds no camera of this number; name another")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                read, frame = self._capture.read()
                if not read:
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()


@contextlib.contextmanager
def video_file(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A context in which the caller writes pictures as the frames of an .mp4 file, complete or not at all.

    Args:
        path: the file.
        rate: frames for each second.

    Yields:
        a function that takes a picture, (H, W, 3) uint8 RGB. All pictures have one size. The block must write one.

    Raises:
        InputError: OpenCV cannot write the video.
    """
    writer = None
    with whole_file(path) as partial:
        # OpenCV chooses the container by the file's ending.
        working = partial.with_suffix(".partial.mp4")

        def write(picture: np.ndarray) -> None:
            nonlocal writer
            if writer is None:
                size = picture.shape[1], picture.shape[0]
                writer = cv2.VideoWriter(str(working), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise InputError(f"{path}: OpenCV cannot write this video; use --no-pictures")
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

        try:
            yield write
            writer.release()
            working.replace(partial)
        finally:
            working.unlink(missing_ok=True)
