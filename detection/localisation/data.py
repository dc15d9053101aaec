"""ILSVRC's CLS-LOC data as the download lies on disk, and the images that networks train on and are tested on.

    Annotations/CLS-LOC/train/WNID/ID.xml, Annotations/CLS-LOC/val/ID.xml
    Data/CLS-LOC/train/WNID/ID.JPEG, Data/CLS-LOC/val/ID.JPEG
    ImageSets/CLS-LOC/train_loc.txt, val.txt

An image has one class and one box or more; train_loc.txt lists the training images that have boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.errors import InputError
from detection.data.layouts.defects import Defects
from detection.data.layouts.ilsvrc.xml import image_path, read_annotations, read_list
from detection.data.layouts.images import image_size, opened_image
from residet.engine.loaders import seeded

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

_LISTS = {"train": "train_loc.txt", "val": "val.txt"}
_TRIES = 10  # random crops of an image of which the first that shows an object is taken
_VISIBLE = 0.5  # part of a box that a crop must show for the box to count


@dataclass(frozen=True)
class Picture:
    """An image with its class and boxes.

    Attributes:
        path: the file.
        image_id: the name on the list of the split.
        wnid: the class.
        boxes: (N, 4) x0, y0, x1, y1 of the objects of the class, in pixels of the image.
        label: index of the class; -1 before the classes are numbered.
    """

    path: Path
    image_id: str
    wnid: str
    boxes: np.ndarray
    label: int = -1


def read_split(root: Path, split: str, defects: Defects) -> list[Picture]:
    """The images of a split. An image without a usable box is left out.

    Args:
        root: the folder ILSVRC.
        split: "train" or "val".
        defects: gets the defects of the boxes.

    Raises:
        InputError: a list, image or XML file is missing or broken.
    """
    listing = root / "ImageSets" / "CLS-LOC" / _LISTS[split]
    pictures = []
    for image_id in dict.fromkeys(words[0] for words in read_list(listing)):
        path = image_path(root / "Data" / "CLS-LOC" / split, image_id)
        xml = root / "Annotations" / "CLS-LOC" / split / f"{image_id}.xml"
        objects = read_annotations(xml, image_size(path), defects)
        if not objects:
            continue
        # The folder of a training image names its class; the boxes of a validation image are all of its class.
        counts = Counter(a["category"] for a in objects)
        wnid = image_id.split("/")[0] if "/" in image_id else counts.most_common(1)[0][0]
        boxes = np.array([a["bbox"] for a in objects if a["category"] == wnid], np.float32).reshape(-1, 4)
        if len(boxes):
            pictures.append(Picture(path, image_id, wnid, boxes))
    if not pictures:
        raise InputError(f"{listing}: none of its images has a box")
    return pictures


def numbered(pictures: Sequence[Picture], classes: Sequence[str], source: str) -> list[Picture]:
    """The images with the index of their class.

    Args:
        pictures: the images.
        classes: WNIDs of the classes, in the order of their indices.
        source: the data, for messages.

    Raises:
        InputError: an image is of another class.
    """
    index = {wnid: i for i, wnid in enumerate(classes)}
    for picture in pictures:
        if picture.wnid not in index:
            raise InputError(f"{source}: {picture.image_id} is of class {picture.wnid}, which is none of the classes")
    return [replace(picture, label=index[picture.wnid]) for picture in pictures]


def read_pixels(path: Path) -> Tensor:
    """The pixels of an image, upright: (3, H, W) uint8 RGB.

    Raises:
        InputError: the file cannot be decoded.
    """
    with opened_image(path) as image:
        return F.pil_to_tensor(ImageOps.exif_transpose(image).convert("RGB"))


def resize_short(image: Tensor, side: int) -> tuple[Tensor, float]:
    """The image with a short side of `side` pixels, and the factor by which it grew."""
    return F.resize(image, [side], antialias=True), side / min(image.shape[1:])


class TrainingCrops(Dataset):
    """Random crops, {"image": (3, S, S) uint8, "boxes": (N, 4), "label": index}, by (position in the run, index).

    As in ResNet's training for classification: the short side is random, the crop too, and half of the crops are
    mirrored.

    Args:
        pictures: the images.
        size: S.
        short_side: range of the short side in pixels.
        seed: of the random numbers, which follow from `seed` and the position in the run.
    """

    def __init__(self, pictures: Sequence[Picture], size: int, short_side: tuple[int, int], seed: int):
        self.pictures, self.size, self.short_side, self.seed = pictures, size, short_side, seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        picture = self.pictures[index]
        image = read_pixels(picture.path)
        with seeded((self.seed, position)):
            side = int(torch.randint(self.short_side[0], self.short_side[1] + 1, ()))
            resized, factor = resize_short(image, side)
            boxes = torch.from_numpy(picture.boxes) * factor
            for _ in range(_TRIES):
                y, x = (int(torch.randint(length - self.size + 1, ())) for length in resized.shape[1:])
                visible = clipped(boxes - boxes.new_tensor([x, y, x, y]), self.size, _VISIBLE)
                if len(visible):
                    break
            crop = F.crop(resized, y, x, self.size, self.size)
            if torch.rand(()) < 0.5:
                crop = crop.flip(-1)
                visible = mirrored(visible, self.size)
        return {"image": crop, "boxes": visible, "label": picture.label}


def mirrored(boxes: Tensor, width: int) -> Tensor:
    """The boxes (N, 4) in the mirror image of an image of that width."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def clipped(boxes: Tensor, size: int, part: float) -> Tensor:
    """Clips boxes to a square image, and leaves out boxes that lie mostly outside.

    Args:
        boxes: x0, y0, x1, y1 in pixels (N, 4).
        size: side of the image in pixels.
        part: least part of a box's area that must lie in the image.
    """
    inside = boxes.clamp(0, size)
    area, whole = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(1) for b in (inside, boxes))
    return inside[area >= part * whole.clamp(min=1e-6)]


class WholeImages(Dataset):
    """Whole images in their original size, {"image", "boxes", "label", "image_id", "classes"}.

    Args:
        pictures: the images.
        predicted: the predicted classes of each image, by its id. `classes` is the true class, then the predicted ones.
    """

    def __init__(self, pictures: Sequence[Picture], predicted: dict[str, list[int]]):
        self.pictures, self.predicted = pictures, predicted

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict:
        picture = self.pictures[index]
        return {
            "image": read_pixels(picture.path),
            "boxes": torch.from_numpy(picture.boxes),
            "label": picture.label,
            "image_id": picture.image_id,
            "classes": [picture.label, *self.predicted.get(picture.image_id, ())],
        }
