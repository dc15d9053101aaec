"""Loads the labgym copy of detectron2 where detectron2 itself is not installed (see backbones/_detectron2.py)."""

from backbones._detectron2 import load_labgym_copy

load_labgym_copy()
