"""Residual networks: a catalogue of specs, the networks built from them, and their registration with detectron2.

`import backbones.registry` puts every network into detectron2's BACKBONE_REGISTRY.
"""

from backbones._detectron2 import provide_detectron2

# This call comes first: from here on, every module of the project can import detectron2.
provide_detectron2()

__all__ = ["create_network", "get_spec", "list_networks", "load_backbone"]


def __getattr__(name):
    """Imports a public function when the caller first asks for it: `import backbones` alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'backbones' has no attribute {name!r}")
    from backbones import api

    return getattr(api, name)


def __dir__():
    return sorted({*globals(), *__all__})
