"""The top-1 and top-5 error of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor


class TopKErrorEvaluator(DatasetEvaluator):
    """Share of images, in %, whose class is not the network's first guess (top-1) or first five guesses (top-5).

    With five classes or fewer the top-5 error is always 0, so the results leave it out.

    Args:
        present: labels of the classes that occur in the data, if the network knows more classes than these. The results
            then also give the error among these classes alone, such as `top1_error_1000way` (ResNeXt, Table 6: the
            networks of ImageNet-5K on ImageNet-1K). None: every class of the network occurs.
    """

    def __init__(self, present: Sequence[int] | None = None):
        self.present = None if present is None else torch.tensor(sorted(present))

    def reset(self):
        self._wrong: dict[str, float] = {}
        self._images = 0

    def process(self, inputs: dict[str, Tensor], outputs: Tensor):
        """Counts the errors of a batch.

        Args:
            inputs: {"label": (N,)}, the true classes.
            outputs: (N, classes) scores.
        """
        scores, labels = outputs.float().cpu(), inputs["label"]
        self._images += len(labels)
        self._count(scores, labels, "")
        if self.present is not None:
            absent = torch.ones(scores.shape[1], dtype=torch.bool)
            absent[self.present] = False
            self._count(scores.masked_fill(absent, -torch.inf), labels, f"_{len(self.present)}way")

    def _count(self, scores: Tensor, labels: Tensor, suffix: str) -> None:
        for k in (1, 5) if scores.shape[1] > 5 else (1,):
            hit = (scores.topk(k, dim=1).indices == labels.unsqueeze(1)).any(1)
            name = f"top{k}_error{suffix}"
            self._wrong[name] = self._wrong.get(name, 0) + int((~hit).sum())

    def evaluate(self) -> dict | None:
        """{"val": {"images": number, "top1_error": %, "top5_error": %, …}} in the main process, None in the others."""
        counts = comm.gather((self._wrong, self._images))
        if not comm.is_main_process():
            return None
        images = sum(number for _, number in counts)
        names = dict.fromkeys(name for wrong, _ in counts for name in wrong)  # a process may have had no image
        errors = {name: 100.0 * sum(wrong.get(name, 0) for wrong, _ in counts) / images for name in names}
        return {"val": {"images": images, **errors}}
