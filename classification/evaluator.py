"""Top-1 and top-5 error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor


class TopKErrorEvaluator(DatasetEvaluator):
    """Share of images, in %, whose class is not the first, or not among the first five, of the prediction.

    With fewer than six classes top-5 error is 0 by definition and left out.

    Args:
        present: the classes that occur, where they are a part of the network's: the error among these alone is given
            too, as `top1_error_1000way` (ResNeXt, Table 6: ImageNet-5K's networks on ImageNet-1K).
    """

    def __init__(self, present: Sequence[int] | None = None):
        self.present = None if present is None else torch.tensor(sorted(present))

    def reset(self):
        self._wrong: dict[str, float] = {}
        self._images = 0

    def process(self, inputs: dict[str, Tensor], outputs: Tensor):
        """inputs: {"label": (N,)}; outputs: (N, classes) scores."""
        scores, labels = outputs.float().cpu(), inputs["label"]
        self._images += len(labels)
        self._count(scores, labels, "")
        if self.present is not None:
            others = torch.ones(scores.shape[1], dtype=torch.bool)
            others[self.present] = False
            self._count(scores.masked_fill(others, -torch.inf), labels, f"_{len(self.present)}way")

    def _count(self, scores: Tensor, labels: Tensor, suffix: str) -> None:
        for k in (1, 5) if scores.shape[1] > 5 else (1,):
            hit = (scores.topk(k, dim=1).indices == labels.unsqueeze(1)).any(1)
            name = f"top{k}_error{suffix}"
            self._wrong[name] = self._wrong.get(name, 0) + int((~hit).sum())

    def evaluate(self) -> dict | None:
        """{"val": {"images", "top1_error", "top5_error", …}} in the main process."""
        parts = comm.gather((self._wrong, self._images))
        if not comm.is_main_process():
            return None
        images = sum(part for _, part in parts)
        names = dict.fromkeys(name for wrong, _ in parts for name in wrong)  # a process may have had no image
        errors = {name: 100.0 * sum(wrong.get(name, 0) for wrong, _ in parts) / images for name in names}
        return {"val": {"images": images, **errors}}
