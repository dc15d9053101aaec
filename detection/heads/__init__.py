"""RoI heads: classify each proposed region, regress its box. Importing the package registers them with detectron2."""

from detection.heads import multipath, roi_heads  # noqa: F401
