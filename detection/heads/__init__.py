"""RoI heads: classify each proposed region and regress its box.

Importing the package registers the heads with detectron2.
"""

from detection.heads import multipath, roi_heads  # noqa: F401
