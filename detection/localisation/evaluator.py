"""ILSVRC's localisation error: an image is right if a predicted class is right and its box overlaps an object."""

from __future__ import annotations

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor
from torchvision.ops import box_iou

CENTRE_SIDES = [n / 10 for n in range(1, 11)]  # width and height of the baseline's boxes, in sizes of the image


class LocalisationEvaluator(DatasetEvaluator):
    """Counts errors with the true class and with the predicted classes; a box is right at an IoU of 0.5 or more.

    A box in the middle of every image, with the true class, is the baseline: of ten sizes the one with the fewest
    errors on these images.
    """

    def reset(self):
        self._images = 0
        self._wrong: dict[str, int] = {}
        self._wrong_centres = torch.zeros(len(CENTRE_SIDES), dtype=torch.int64)

    def process(self, inputs: list[dict], outputs: list[dict]):
        """Counts the errors of a batch.

        Args:
            inputs: `boxes`, `label` and `classes` (the true class, then the predicted ones) of each image.
            outputs: `boxes` (C, P, 4) of the classes, the best first.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            truth, classes = entry["boxes"], entry["classes"]
            best = output["boxes"][:, 0].cpu()
            right = hits(best, truth)
            predicted = [bool(r) for r, c in zip(right[1:], classes[1:], strict=True) if c == entry["label"]]
            height, width = entry["image"].shape[1:]
            edges = truth.new_tensor([[(1 - part) / 2, (1 + part) / 2] for part in CENTRE_SIDES])  # (sizes, 2)
            centres = edges[:, [0, 0, 1, 1]] * truth.new_tensor([width, height, width, height])
            self._images += 1
            self._wrong_centres += ~hits(centres, truth)
            self._count("oracle_error", not right[0])
            if classes[1:]:
                self._count("top1_error", not (classes[1] == entry["label"] and bool(right[1])))
                if len(classes) > 2:
                    self._count(f"top{len(classes) - 1}_error", not any(predicted))
                self._count("class_error", not predicted)

    def _count(self, name: str, wrong: bool) -> None:
        self._wrong[name] = self._wrong.get(name, 0) + int(wrong)

    def evaluate(self) -> dict | None:
        """Computes the errors in %.

        Returns:
            {"loc": {"images", "oracle_error" (the true class is given), "top1_error", "top5_error", "class_error" (none
            of the predicted classes is right), "centre_box_error"}}; None but in the main process.
        """
        counts = comm.gather((self._wrong, self._wrong_centres, self._images))
        if not comm.is_main_process():
            return None
        images = sum(number for *_, number in counts)
        names = dict.fromkeys(name for wrong, *_ in counts for name in wrong)
        wrong = {name: sum(share.get(name, 0) for share, *_ in counts) for name in names}
        wrong["centre_box_error"] = int(sum(centres for _, centres, _ in counts).min())
        return {"loc": {"images": images, **{name: 100.0 * count / images for name, count in wrong.items()}}}


def hits(boxes: Tensor, truth: Tensor) -> Tensor:
    """Whether each box (N, 4) overlaps one of the objects (M, 4) by an IoU of 0.5 or more."""
    return (box_iou(boxes.to(truth), truth) >= 0.5).any(1)
