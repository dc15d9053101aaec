"""How long does a training step take, with CLASSIFICATION.CHANNELS_LAST, against torchvision's network as it comes?

Forward, backward and SGD on 8 images of 224 x 224, float32, one core. Ours is the classifier that `tools/pretrain.py`
trains, the peer torchvision's network with the same weights in the loop of its reference recipe.

benchmarks/training_step.py
"""

import argparse

from backbones.catalogue import get_spec
from backbones.resnet import ResidualNet
from classification.model import Classifier
from residet.engine.step import Step

import torch
import torchvision
from detectron2.utils.events import EventStorage
from harness import Job, compare, write
from torch.nn.functional import cross_entropy

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NETWORKS = {"resnet50": "resnet50", "resnext50_32x4d": "resnext50_32x4d"}  # residet's name -> torchvision's
BATCH = 8


def optimiser(model):
    """SGD as ResNet's recipe has it, with steps too small to change the loss of the next step by much."""
    return torch.optim.SGD(model.parameters(), 1e-6, momentum=0.9, weight_decay=1e-4)


def job_of(arch, name):
    """The job of one network."""
    torch.manual_seed(0)
    model = Classifier(ResidualNet(get_spec(arch), 1000), MEAN, STD, channels_last=True)
    peer = getattr(torchvision.models, name)().train()
    peer.load_state_dict(model.network.state_dict())
    images = torch.randint(0, 256, (BATCH, 3, 224, 224), dtype=torch.uint8)
    labels = torch.randint(0, 1000, (BATCH,))
    step = Step(model, optimiser(model))
    step.data_loader, step.iter = iter(lambda: {"image": images, "label": labels}, None), 0
    peer_optimiser = optimiser(peer)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def ours():
        with EventStorage() as storage:
            step.run_step()
            return storage.latest()["total_loss"][0]

    def theirs():
        loss = cross_entropy(peer((images - mean) / std), labels)
        peer_optimiser.zero_grad()
        loss.backward()
        peer_optimiser.step()
        return loss.item()

    return Job(f"{arch}, batch {BATCH}", ours, theirs, f"torchvision {name}", agree, "loss within 1e-4", 1.2, 5)


def agree(a, b):
    """The losses of the first step."""
    assert abs(a - b) < 1e-4, (a, b)


def main():
    """Measures all networks and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    write(__doc__.splitlines()[0], [compare(job_of(*names)) for names in NETWORKS.items()])


if __name__ == "__main__":
    main()
