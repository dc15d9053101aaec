"""Pretraining of residual networks as image classifiers. Its checkpoint is what detection starts from."""

import backbones  # noqa: F401  provides detectron2
