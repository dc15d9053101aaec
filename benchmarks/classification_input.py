"""How long does an image take from a JPEG file to the network's input, augmented, against torchvision on PIL images?

The job: read and decode, crop of random scale and aspect ratio to 224 x 224, antialiased, mirror, batch, normalise.
Both sides draw the same random numbers, and therefore make the same crops. One core.

benchmarks/classification_input.py FOLDER
"""

import argparse

from classification.config import default_config
from classification.data.examples import Example
from classification.data.images import FileImages
from classification.data.transforms import train_transform
from classification.model import Classifier

import torch
from harness import Job, compare, write
from torch.utils.data import default_collate
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ours(images, example, model):
    """All images as a normalised batch (N, 3, 224, 224), by residet."""
    torch.manual_seed(0)
    examples = [example(*images.load(i)) for i in range(len(images))]
    return model.normalise(default_collate(examples)["image"])


def theirs(images):
    """The same by torchvision's reference loader."""
    torch.manual_seed(0)
    return default_collate([images[i] for i in range(len(images))])[0]


def agree(a, b):
    """The decoders and the resizing round differently; another crop would differ by about 1."""
    assert a.shape == b.shape
    difference = (a - b).abs().mean(dim=(1, 2, 3))
    assert difference.max() < 0.05, difference.max()


def main():
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with CLASS/*.jpg")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    cfg = default_config()
    cfg.CLASSIFICATION.CROP, cfg.CLASSIFICATION.COLOUR, cfg.CLASSIFICATION.FLIP = "scale", "none", True
    cfg.CLASSIFICATION.SIZE = 224
    images, example = FileImages.of_folder(folder), Example(train_transform(cfg))
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    model = Classifier(torch.nn.Identity(), mean, std)
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    peer = ImageFolder(folder, transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]))
    job = Job(
        f"JPEG to normalised batch, {len(images)} photographs",
        lambda: ours(images, example, model),
        lambda: theirs(peer),
        "torchvision v1 on PIL images",
        agree,
        "same crops; pixels differ by less than 0.05 standard deviations in the mean of each image",
        1.9,
        9,
    )
    write(__doc__.splitlines()[0], [compare(job)])


if __name__ == "__main__":
    main()
