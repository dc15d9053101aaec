"""ImageNet localisation (ResNet, appendix C): the classes of an image are given, and each class gets one box."""

import backbones  # noqa: F401  makes `import detectron2` work
