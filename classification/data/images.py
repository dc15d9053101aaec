"""Labelled images one by one: from files, or from the arrays that torchvision's readers hold."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError

import numpy as np
import torch
from detectron2.data import DatasetFromList
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import pil_to_tensor

# So many images that cannot be decoded, one after the other, are no accident.
IN_A_ROW = 10


class BadImage(InputError):
    """An image cannot be decoded."""


class LabelledImages(ABC):
    """Attributes:
    classes: their names, in the order of the labels.
    """

    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> tuple[Tensor, int]:
        """An image, (3, H, W) uint8 RGB, and its label.

        Raises:
            BadImage: it cannot be decoded.
        """

    @abstractmethod
    def labels(self) -> list[int]:
        """The labels of all images."""


def decode(data: bytes, name: str) -> Tensor:
    """A file's bytes -> (3, H, W) uint8 RGB. JPEG by torchvision, which is faster, everything else by PIL.

    Raises:
        BadImage: they are damaged, no image, or an image of absurd size.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:  # reads the header only, and refuses absurd sizes
            if image.format == "JPEG":
                return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
            return pil_to_tensor(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        unknown = isinstance(e, UnidentifiedImageError)
        reason = "no known kind of image" if unknown else " ".join(str(e).split(", ")[-1].split())
        raise BadImage(f"{name}: cannot be decoded as an image ({reason}); remove or replace it") from e


class FileImages(LabelledImages):
    """Files with labels, as torchvision's ImageFolder lists them.

    Args:
        folder: where they are.
        classes: which, in which order; as `folder` has them where None. Not each must have images.

    Raises:
        InputError: a class folder holds no image, or a class of `classes` is no folder at all.
    """

    def __init__(self, folder: ImageFolder, classes: Sequence[str]):
        self.classes = tuple(classes)
        # Serialised, so that memory does not grow with every worker that touches the list.
        self._samples = DatasetFromList(folder.samples, copy=False)

    @classmethod
    def of_folder(cls, folder: Path, classes: Sequence[str] | None = None) -> FileImages:
        """The images in `folder`/CLASS/."""
        try:
            found = ImageFolder(folder) if classes is None else _ListedFolder(folder, classes)
        except FileNotFoundError as e:
            raise InputError(f"{folder}: {e}; it must hold CLASS/*.jpg") from e
        return cls(found, found.classes)

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> tuple[Tensor, int]:
        path, label = self._samples[index]
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise BadImage(f"{path}: cannot be read ({e.strerror})") from e
        return decode(data, path), label

    def labels(self) -> list[int]:
        return [label for _, label in self._samples]


class _ListedFolder(ImageFolder):
    def __init__(self, folder: Path, classes: Sequence[str]):
        self._listed = list(classes)
        super().__init__(folder, allow_empty=True)

    def find_classes(self, directory):
        if not any((Path(directory) / name).is_dir() for name in self._listed):
            raise FileNotFoundError(f"none of the {len(self._listed)} classes is a folder of {directory}")
        present = {name: i for i, name in enumerate(self._listed) if (Path(directory) / name).is_dir()}
        return self._listed, present


class ArrayImages(LabelledImages):
    """Images that torchvision's readers hold in memory.

    Args:
        images: (N, H, W, 3) or (N, 3, H, W) uint8.
        labels: N numbers.
        classes: names.
    """

    def __init__(self, images: np.ndarray, labels: Sequence[int], classes: Sequence[str]):
        self.classes = tuple(classes)
        images = torch.from_numpy(np.ascontiguousarray(images))
        self._images = images.permute(0, 3, 1, 2).contiguous() if images.shape[-1] == 3 else images
        self._labels = [int(label) for label in labels]

    def __len__(self) -> int:
        return len(self._labels)

    def load(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], self._labels[index]

    def labels(self) -> list[int]:
        return self._labels
