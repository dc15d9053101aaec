"""Loads labelled images one by one, from files or from the arrays of torchvision's readers."""

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

# Number of images in a row that cannot be decoded, from which on the data as a whole must be at fault.
IN_A_ROW = 10


class BadImage(InputError):
    """An image cannot be decoded."""


class LabelledImages(ABC):
    """The images of a split, by index, with their labels.

    Attributes:
        classes: names of the classes. A label is an index of this tuple.
    """

    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> tuple[Tensor, int]:
        """The image number `index`, (3, H, W) uint8 RGB, and its label.

        Raises:
            BadImage: the image cannot be decoded.
        """

    @abstractmethod
    def labels(self) -> list[int]:
        """The labels of all images, in order."""


def decode(data: bytes, name: str) -> Tensor:
    """Decodes an image file to (3, H, W) uint8 RGB: JPEG by torchvision, which is faster, other formats by PIL.

    Args:
        data: the content of the file.
        name: the file, for messages.

    Raises:
        BadImage: the file is damaged or is no image, or the image is absurdly large.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:  # open() reads the header only, and refuses absurd sizes
            if image.format == "JPEG":
                return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
            return pil_to_tensor(image.convert("RGB"))
    except Exception as e:  # of broken bytes, Pillow's decoders raise nearly anything
        unknown = isinstance(e, UnidentifiedImageError)
        reason = "no known image format" if unknown else " ".join(str(e).split(", ")[-1].split())
        raise BadImage(f"{name}: cannot be decoded as an image ({reason}); remove or replace it") from e


class FileImages(LabelledImages):
    """Images in files, as torchvision's ImageFolder lists them.

    Args:
        folder: torchvision's list of the files and their labels.
        classes: names of the classes, in the order of the labels.
    """

    def __init__(self, folder: ImageFolder, classes: Sequence[str]):
        self.classes = tuple(classes)
        # Serialised, so that memory does not grow with every worker that touches the list.
        self._samples = DatasetFromList(folder.samples, copy=False)

    @classmethod
    def of_folder(cls, folder: Path, classes: Sequence[str] | None = None) -> FileImages:
        """The images in `folder`/CLASS/.

        Args:
            folder: the folder of a split.
            classes: names of the classes to read, in the order of the labels; some may have no folder or no image.
                None reads every class folder in alphabetical order; each must hold an image.

        Raises:
            InputError: with `classes` None, a class folder holds no image, or there is no class folder; otherwise, none
                of `classes` is a folder, or all their folders are empty.
        """
        try:
            files = ImageFolder(folder) if classes is None else _ListedFolder(folder, classes)
        except FileNotFoundError as e:
            raise InputError(f"{folder}: {e}; the folder must hold CLASS/*.jpg") from e
        if not len(files):
            raise InputError(f"{folder}: the folders of the {len(files.classes)} classes hold no image")
        return cls(files, files.classes)

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> tuple[Tensor, int]:
        path, label = self._samples[index]
        if not Path(path).is_file():  # a pipe would be waited for, and a device read without end
            raise BadImage(f"{path}: is missing, or no regular file; put the image there, or remove the name")
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise BadImage(f"{path}: cannot be read ({e.strerror})") from e
        return decode(data, path), label

    def labels(self) -> list[int]:
        return [label for _, label in self._samples]

    def paths(self) -> list[str]:
        """The files of all images, in order."""
        return [path for path, _ in self._samples]


class _ListedFolder(ImageFolder):
    """An ImageFolder with the classes of a list, in the list's order."""

    def __init__(self, folder: Path, classes: Sequence[str]):
        self._listed = list(classes)
        super().__init__(folder, allow_empty=True)

    def find_classes(self, directory):
        if not any((Path(directory) / name).is_dir() for name in self._listed):
            raise FileNotFoundError(f"none of the {len(self._listed)} classes is a folder of {directory}")
        present = {name: i for i, name in enumerate(self._listed) if (Path(directory) / name).is_dir()}
        return self._listed, present


class ArrayImages(LabelledImages):
    """Images in memory, such as torchvision's readers of CIFAR and SVHN hold.

    Args:
        images: (N, H, W, 3) or (N, 3, H, W) uint8 RGB.
        labels: N labels.
        classes: names of the classes, in the order of the labels.
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

    def pixels(self) -> bytes:
        """The pixels of all images."""
        return self._images.numpy().tobytes()
