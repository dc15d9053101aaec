"""A row of the catalogue -> its classifier network."""

from __future__ import annotations

from backbones.errors import InputError
from backbones.resnet import ResidualNet
from backbones.spec import ArchSpec
from backbones.vgg import VGGSpec, build_vgg

from torch import nn


def build_network(spec: ArchSpec | VGGSpec, num_classes: int, **options) -> nn.Module:
    """The network of a row, freshly initialised: (N, 3, H, W) -> (N, num_classes).

    Args:
        spec: the row.
        num_classes: outputs.
        options: of `ResidualNet`.

    Raises:
        InputError: the network has no such option.
    """
    if isinstance(spec, VGGSpec):
        if any(options.values()):
            raise InputError(f"{spec.name}: has no {' and no '.join(k for k, v in options.items() if v)}")
        return build_vgg(spec, num_classes)
    try:
        return ResidualNet(spec, num_classes, **options)
    except ValueError as e:
        raise InputError(f"{spec.name}: {e}") from e
