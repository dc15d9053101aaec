"""Top-1 and top-5 error."""

from __future__ import annotations

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor


class ErrorEvaluator(DatasetEvaluator):
    """Share of images, in %, whose class is not the first, or not among the first five, of the prediction.

    With fewer than six classes top-5 error is 0 by definition and left out.
    """

    def reset(self):
        self._wrong = torch.zeros(2, dtype=torch.int64)
        self._images = 0
        self._classes = 0

    def process(self, inputs: dict[str, Tensor], outputs: Tensor):
        """inputs: {"label": (N,)}; outputs: (N, classes) logits."""
        self._classes = outputs.shape[1]
        best = outputs.cpu().topk(min(5, self._classes), dim=1).indices
        hit = best == inputs["label"].unsqueeze(1)
        self._wrong += torch.stack([(~hit[:, 0]).sum(), (~hit.any(dim=1)).sum()])
        self._images += len(hit)

    def evaluate(self) -> dict | None:
        """{"val": {"top1_error", "top5_error", "images"}} in the main process."""
        parts = comm.gather((self._wrong, self._images, self._classes))
        if not comm.is_main_process():
            return None
        wrong, images = sum(p[0] for p in parts), sum(p[1] for p in parts)
        top1, top5 = (100.0 * wrong / images).tolist()
        results = {"top1_error": top1, "images": images}
        if max(p[2] for p in parts) > 5:
            results["top5_error"] = top5
        return {"val": results}
