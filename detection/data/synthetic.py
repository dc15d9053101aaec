"""Draws a small detection data set: textured shapes on cluttered backgrounds. No file is needed.

Each class has one outline and one texture. Colour, contrast, size and angle are random for each object. The images also
contain lines, and blobs of no class with the textures of the classes: neither texture nor edges alone
show where an object is.
"""

from __future__ import annotations

from pathlib import Path

from detection.data.layouts.coco import write_coco

import cv2
import numpy as np
from PIL import Image

CLASSES = ("cross", "disk", "square", "star", "triangle")
SIZE = 128  # side of an image in pixels
_CROP_MARGIN = 0.15  # margin around a cropped object, in lengths of the longer side of its box


def make_shapes(root: Path, train: int, test: int, seed: int, objects: tuple[int, int] = (1, 4)) -> None:
    """Writes a detection data set in COCO layout, and a classification data set of crops of its objects.

    Args:
        root: folder to write to. The detection data are images/{train,val}/*.png and annotations/{train,val}.json; the
            crops are crops/{train,val}/CLASS/*.png.
        train: number of images in the split `train`.
        test: number of images in the split `val`.
        seed: the same seed gives the same images.
        objects: fewest and most objects of an image; an object that finds no free place is left out.
    """
    for split, count in (("train", train), ("val", test)):
        rng = np.random.default_rng([seed, split == "val"])
        records = []
        for i in range(count):
            image, annotations = _scene(rng, objects)
            path = root / "images" / split / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            records.append(
                {"file_name": str(path), "image_id": i + 1, "width": SIZE, "height": SIZE, "annotations": annotations}
            )
            _save_crops(image, annotations, root / "crops" / split, path.stem)
        (root / "annotations").mkdir(exist_ok=True)
        write_coco(records, CLASSES, root / "annotations" / f"{split}.json")


def _scene(rng: np.random.Generator, objects: tuple[int, int]) -> tuple[np.ndarray, list[dict]]:
    """Draws an RGB image, (SIZE, SIZE, 3) uint8, and returns the image and its annotations."""
    image = _background(rng)
    object_masks: list[np.ndarray] = []
    annotations = []
    blobs = [None] * rng.integers(0, 3)
    kinds = blobs + list(rng.integers(len(CLASSES), size=rng.integers(objects[0], objects[1] + 1)))
    for kind in kinds:  # None is a blob; blobs come first, so that objects lie on top of blobs
        mask = _place(rng, kind, object_masks)
        if mask is None:
            continue
        _paint(rng, image, mask, rng.integers(len(CLASSES)) if kind is None else kind)
        if kind is not None:
            x, y, w, h = cv2.boundingRect(mask)
            box = [float(x), float(y), float(x + w), float(y + h)]
            annotations.append({"bbox": box, "category_id": int(kind), "iscrowd": 0})
    image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.3, 0.9))
    noisy = image + rng.normal(0, rng.uniform(2, 10), image.shape)
    return noisy.clip(0, 255).astype(np.uint8), annotations


def _background(rng: np.random.Generator) -> np.ndarray:
    """An image (SIZE, SIZE, 3) uint8: coloured noise of three scales, with lines and arcs on top."""
    image = np.full((SIZE, SIZE, 3), rng.uniform(60, 200, 3), np.float32)
    for cells in (3, 8, 24):
        noise = rng.normal(0, 50 / np.sqrt(cells), (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image = image.clip(0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 9)):
        colour = _colour(rng)
        ends = rng.integers(0, SIZE, (2, 2))
        if rng.random() < 0.6:
            cv2.line(image, ends[0].tolist(), ends[1].tolist(), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
        else:
            axes = rng.integers(6, 40, 2).tolist()
            start = int(rng.integers(0, 360))
            cv2.ellipse(image, ends[0].tolist(), axes, start, 0, int(rng.integers(60, 200)), colour, 2, cv2.LINE_AA)
    return image


def _place(rng: np.random.Generator, kind: int | None, object_masks: list[np.ndarray]) -> np.ndarray | None:
    """Finds a place for an object or a blob. Objects keep a distance to each other; a blob may lie anywhere.

    Args:
        rng: the source of random numbers.
        kind: index of the object's class; None for a blob.
        object_masks: masks (SIZE, SIZE) of the objects in the image. The new object's mask is appended.

    Returns:
        the mask (SIZE, SIZE) uint8, 255 inside; None if five tries find no free place.
    """
    for _ in range(5):
        radius = rng.uniform(11, 28)
        centre = rng.uniform(radius, SIZE - radius, 2)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(mask, [np.round(_outline(rng, kind) * radius + centre).astype(np.int32)], 255)
        around = cv2.dilate(mask, np.ones((5, 5), np.uint8))
        if kind is None or not any((around & other).any() for other in object_masks):
            if kind is not None:
                object_masks.append(mask)
            return mask
    return None


def _outline(rng: np.random.Generator, kind: int | None) -> np.ndarray:
    """Corners (K, 2) of the outline of a class, in the unit circle, turned at random. A `kind` of None is a blob."""
    name = "blob" if kind is None else CLASSES[kind]
    if name == "cross":
        a = rng.uniform(0.22, 0.34)
        quarter = np.array([[1, -a], [1, a], [a, a]])
        corners = np.concatenate([quarter @ _turn(i * np.pi / 2) for i in range(4)])
    elif name == "star":
        radii = np.where(np.arange(10) % 2, rng.uniform(0.38, 0.48), 1.0)
        corners = _polar(radii)
    elif name == "blob":
        corners = _polar(rng.uniform(0.35, 1.0, int(rng.integers(6, 9))))
    else:
        corners = _polar(np.ones({"disk": 48, "square": 4, "triangle": 3}[name]))
    stretch = np.array([1.0, rng.uniform(0.8, 1.0)])
    return (corners * stretch) @ _turn(rng.uniform(0, 2 * np.pi))


def _polar(radii: np.ndarray) -> np.ndarray:
    """Corners (K, 2) at the given distances (K,) from the origin, at equal angles around the origin."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _turn(angle: float) -> np.ndarray:
    """The matrix (2, 2) that turns row vectors by an angle in radians."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _paint(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, texture: int) -> None:
    """Fills the masked pixels of an image with two random colours, mixed by a texture.

    Args:
        rng: the source of random numbers.
        image: (SIZE, SIZE, 3) uint8; changed in place.
        mask: (SIZE, SIZE); pixels above 0 are filled.
        texture: 0 stripes, 1 checks, 2 dots, 3 grains, 4 a gradient.
    """
    y, x = np.mgrid[:SIZE, :SIZE]
    across, along = np.stack([x, y], axis=-1).dot(_turn(rng.uniform(0, np.pi))).transpose(2, 0, 1)
    period = rng.uniform(5, 10)
    if texture == 0:
        pattern = np.sin(2 * np.pi * across / period)
    elif texture == 1:
        pattern = np.sign(np.sin(2 * np.pi * across / period) * np.sin(2 * np.pi * along / period))
    elif texture == 2:
        pattern = np.sin(2 * np.pi * across / period) * np.sin(2 * np.pi * along / period) * 2 - 1
    elif texture == 3:
        pattern = rng.uniform(-1, 1, (SIZE, SIZE))
    else:
        pattern = np.sin(2 * np.pi * across / (12 * period))
    share = (pattern.clip(-1, 1)[..., None] + 1) / 2
    colour = np.array(_colour(rng), np.float32)
    colours = np.stack([colour, (colour + rng.choice([-1, 1], 3) * rng.uniform(40, 100, 3)).clip(0, 255)])
    inside = mask > 0
    image[inside] = (share * colours[0] + (1 - share) * colours[1])[inside].astype(np.uint8)


def _colour(rng: np.random.Generator) -> list[int]:
    return rng.integers(20, 236, 3).tolist()


def _save_crops(image: np.ndarray, annotations: list[dict], folder: Path, stem: str) -> None:
    """Saves a square crop around each object, cut off at the image's edge, as folder/CLASS/STEM_INDEX.png.

    Args:
        image: (SIZE, SIZE, 3) uint8 RGB.
        annotations: the annotations of the image.
        folder: gets a folder for each class.
        stem: the image's file name without its ending.
    """
    for i, annotation in enumerate(annotations):
        x0, y0, x1, y1 = annotation["bbox"]
        half = (0.5 + _CROP_MARGIN) * max(x1 - x0, y1 - y0)
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        left, top = (max(int(c - half), 0) for c in centre)
        right, bottom = (min(int(c + half), SIZE) for c in centre)
        path = folder / CLASSES[annotation["category_id"]] / f"{stem}_{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[top:bottom, left:right]).save(path)
