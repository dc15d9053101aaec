"""What a detector knows of an image before it detects: proposals, and boxes and scores for any region."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from detection.heads.region_heads import Predict
from detection.inference.tiles import resized

from detectron2.data import transforms as T
from detectron2.structures import Instances
from torch import Tensor, nn


@dataclass
class Sight:
    """A detector's view of one image.

    Attributes:
        proposals: the RPN's, in pixels of the image as the detector resized it; `image_size` is that image's.
        predict: regions in these pixels -> boxes and probabilities, see `detection.heads.region_heads.Predict`.
    """

    proposals: Instances
    predict: Predict


class OneScale:
    """Looks at an image at one scale.

    Args:
        model: detectron2's GeneralizedRCNN with residet's RoI heads, in evaluation mode.
        resize: resizes an image for the model.
    """

    def __init__(self, model: nn.Module, resize: T.Augmentation):
        self.model = model
        self.resize = resize

    def look(self, image: Tensor) -> Sight:
        """What the detector knows of an image, (3, H, W) uint8 in its original size."""
        model, heads = self.model, self.model.roi_heads
        images = model.preprocess_image([{"image": resized(image, self.resize)}])
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        sizes = images.image_sizes
        pool = functools.partial(heads.region_features, features, sizes=sizes)
        return Sight(proposals[0], functools.partial(heads.predict, sizes=sizes, pool=pool))
