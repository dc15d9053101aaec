"""Faster R-CNN on residual networks: data, training, evaluation."""

import backbones  # noqa: F401  provides detectron2
