"""Residual networks: a catalogue of specs, the networks built from them, and their registration with detectron2.

`import backbones.registry` puts every network into detectron2's BACKBONE_REGISTRY.
"""

from backbones._detectron2 import provide_detectron2

# Before any other module of the project runs, so that each may import detectron2 in any order.
provide_detectron2()

__all__ = ["create_network", "get_spec", "list_networks", "load_backbone"]


def __getattr__(name):
    """Imports the public functions when one is first asked for: `import backbones` alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'backbones' has no attribute {name!r}")
    from backbones import api

    return getattr(api, name)


def __dir__():
    return sorted({*globals(), *__all__})
