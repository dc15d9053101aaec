"""Stands in for detectron2 where only the labgym copy is installed (see backbones/_detectron2.py)."""

from backbones._detectron2 import load_labgym_copy

load_labgym_copy()
