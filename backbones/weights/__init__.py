"""Weights of residet and other libraries: reads files, loads weights into networks, exports files."""

# The libraries for which `backbones.weights.export` writes files.
FORMATS = ("residet", "torchvision", "timm", "detectron2")
