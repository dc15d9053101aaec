"""Faster R-CNN on residual networks: data, training, inference, evaluation."""

import backbones  # noqa: F401  makes `import detectron2` work

__all__ = ["Predictor", "build_detector"]


def __getattr__(name):
    """Imports the public functions when one is first asked for: `import detection` alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'detection' has no attribute {name!r}")
    if name == "Predictor":
        from detection.predictor import Predictor

        return Predictor
    from detection import build

    return getattr(build, name)


def __dir__():
    return sorted({*globals(), *__all__})
