"""A compiled network has the gradients of the network itself: `python compiled_training.py`."""

import dataclasses

from backbones.catalogue import get_spec

import torch
from narrow_networks import narrow


def main():
    torch.manual_seed(0)
    # One block without and one with a projection: each kind of kernel takes the C++ compiler seconds.
    spec = dataclasses.replace(get_spec("resnet18"), depths=(1, 1), widths=(64, 128), inner_widths=(64, 128))
    network, image = narrow(spec), torch.randn(2, 3, 32, 32)
    network(image).square().sum().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    torch.compile(network)(image).square().sum().backward()
    for p, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    main()
