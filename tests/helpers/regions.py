"""A small detector's input and regions."""

import torch
from detectron2.structures import Boxes, Instances

SMALL = ["MODEL.ROI_HEADS.NUM_CLASSES", 3, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8, "MODEL.RESNETS.NORM", "BN"]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TEST", 10, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.FPN.OUT_CHANNELS", 32]
SMALL += ["MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False]


def example(size=96):
    generator = torch.Generator().manual_seed(1)
    entry = {"image": torch.randint(256, (3, size, size), dtype=torch.uint8, generator=generator)}
    entry |= {"instances": Instances((size, size)), "height": size, "width": size}
    entry["instances"].gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 50.0], [50, 30, 90, 80]]))
    entry["instances"].gt_classes = torch.tensor([2, 0])
    return entry


def regions_of(model, entry):
    images = model.preprocess_image([entry])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    return images, features, proposals
