"""Large networks without the seconds that their initialisation takes: torch draws each weight, the network again."""

import math

import torch

_DRAWN = 1_000_003  # numbers; a prime, so that no two channels of a layer have the same ones


def unfilled(build):
    """A network whose parameters and buffers are still to be filled, all of them."""
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu")


def quickly_filled(build):
    """A network with random weights, and statistics of 0 and 1."""
    network, drawn = unfilled(build), torch.randn(_DRAWN)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.dim() > 1:
                count = value.numel()
                start = int(torch.randint(_DRAWN, ()))
                numbers = drawn.roll(start).repeat(math.ceil(count / _DRAWN))[:count]
                value.copy_(numbers.view_as(value) * (2 / value[0].numel()) ** 0.5)
            else:
                value.fill_(name.endswith(("running_var", "weight")))
    return network.eval()
