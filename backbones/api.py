"""The functions that `import backbones` offers: names of networks, networks by name, networks from files."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from backbones.catalogue import CATALOGUE, get_spec
from backbones.interface import FeatureNetwork
from backbones.weights.load import fill_network, load_backbone

__all__ = ["create_network", "get_spec", "list_networks", "load_backbone"]


def list_networks(pattern: str = "*") -> list[str]:
    """Names of the networks in the catalogue, in its order.

    The names of Wide ResNets on CIFAR follow a grammar (backbones/wide.py), so `get_spec` knows more than the list.

    Args:
        pattern: a shell pattern that the names must match, such as "resnext*".
    """
    return [name for name in CATALOGUE if fnmatch.fnmatchcase(name, pattern)]


def create_network(
    name: str, num_classes: int | None = None, pretrained: str | Path | None = None, **options
) -> FeatureNetwork:
    """A network by name: (N, 3, H, W) -> (N, num_classes) logits; `feature_maps` gives the maps instead.

    Args:
        name: a name of `list_networks`, or of a Wide ResNet on CIFAR.
        num_classes: outputs of the classifier; by default as many as `pretrained` has, else as in the papers. 0 leaves
            the classifier out.
        pretrained: a file of weights: residet's, torchvision's, timm's or detectron2's; or a name of published weights,
            such as "torchvision:resnet50", or "auto" for the best (docs/weights.md). The file must hold all
            parameters. If the file has another number of classes than `num_classes`, the last layer stays as
            initialised.
        options: further arguments of the network's class: `norm` (channels -> module), `residual_scale`,
            `checkpoint_activations`.

    Raises:
        InputError: the name is unknown, the file cannot be read or holds another network, or the network lacks an
            option.
    """
    spec = get_spec(name)
    if pretrained is not None:
        return fill_network(spec, pretrained, num_classes, **options)
    return spec.build(spec.num_classes if num_classes is None else num_classes or None, **options)
