"""Draws a detection data set from CIFAR-10: photographs of a few sizes, pasted on coloured noise.

The photographs are CIFAR-10's test images: those of the training set are what networks are pretrained on. Training and
test images of the collages show different photographs.

benchmarks/accuracy/collages.py --cifar10 CIFAR10 --output output/collages
"""

import argparse
from pathlib import Path

from detection.data.layouts.coco import write_coco

import numpy as np
from PIL import Image

SIDE = 160  # side of an image in pixels
SIDES = (28, 72)  # least and greatest side of a photograph, in pixels
OBJECTS = (1, 4)  # least and greatest number of photographs in an image
MARGIN = 2  # least distance of two photographs, in pixels


def make_collages(cifar10: Path, root: Path, train: int = 200, val: int = 200, seed: int = 0) -> None:
    """Writes a detection data set in COCO layout: images/{train,val}/*.png and annotations/{train,val}.json.

    Args:
        cifar10: the folder of CIFAR-10 as images, test/CLASS/*.
        root: the folder to write to.
        train: number of training images.
        val: number of test images.
        seed: the same seed gives the same images.
    """
    photographs = {folder.name: sorted(folder.iterdir()) for folder in sorted((cifar10 / "test").iterdir())}
    classes = list(photographs)
    for split, count in (("train", train), ("val", val)):
        rng, records = np.random.default_rng([seed, split == "val"]), []
        folder = root / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, boxes = _noise(rng), []
            for _ in range(rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
                label = int(rng.integers(len(classes)))
                own = photographs[classes[label]]
                half = own[len(own) // 2 :] if split == "val" else own[: len(own) // 2]
                _paste(rng, image, half[rng.integers(len(half))], label, boxes)
            path = folder / f"{number:05d}.png"
            image.save(path)
            records.append(
                {"file_name": str(path), "image_id": number + 1, "width": SIDE, "height": SIDE, "annotations": boxes}
            )
        (root / "annotations").mkdir(exist_ok=True)
        write_coco(records, classes, root / "annotations" / f"{split}.json")


def _noise(rng: np.random.Generator) -> Image.Image:
    """An image of coloured noise: patches, spots and grains."""
    pixels = np.full((SIDE, SIDE, 3), rng.uniform(60, 200, 3))
    for cells in (3, 10, 40, SIDE):
        spots = rng.normal(0, 60 / np.sqrt(cells), (cells, cells, 3)) + 128
        grown = Image.fromarray(spots.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels += np.asarray(grown, np.float64) - 128
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _paste(rng: np.random.Generator, image: Image.Image, path: Path, label: int, boxes: list[dict]) -> None:
    """Pastes a photograph where no other lies, and adds its annotation; leaves it out if ten tries find no place."""
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    for _ in range(10):
        x, y = (int(v) for v in rng.integers(0, SIDE - side + 1, 2))
        far = side + MARGIN
        if all(
            x + far <= x0 or x1 + MARGIN <= x or y + far <= y0 or y1 + MARGIN <= y
            for x0, y0, x1, y1 in (box["bbox"] for box in boxes)
        ):
            photograph = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            image.paste(photograph, (x, y))
            corners = [float(x), float(y), float(x + side), float(y + side)]
            boxes.append({"bbox": corners, "category_id": label, "iscrowd": 0})
            return


def main():
    """Parses the command line, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, metavar="DIR", help="test/CLASS/*.jpg")
    parser.add_argument("--output", type=Path, default=Path("output/collages"))
    args = parser.parse_args()
    make_collages(args.cifar10, args.output)


if __name__ == "__main__":
    main()
