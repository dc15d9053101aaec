"""Windows around regions: LocNet's search regions and MultiPathNet's foveal regions."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes


def scale_boxes(boxes: Boxes, factor: float) -> Boxes:
    """Boxes with the same centres, `factor` times as wide and as high.

    The new boxes may extend beyond the image: RoI pooling gives zeros there.
    """
    centre, size = boxes.get_centers(), boxes.tensor[:, 2:] - boxes.tensor[:, :2]
    return Boxes(torch.cat([centre - size * factor / 2, centre + size * factor / 2], dim=1))
