"""Writes detections in the files that the evaluation server of PASCAL VOC takes."""

from __future__ import annotations

from pathlib import Path

from backbones.whole_files import write_text
from detection.evaluation.boxes import BoxEvaluator
from detection.evaluation.overlaps import Overlaps


class VOCResultFiles(BoxEvaluator):
    """Writes a file comp4_det_test_CLASS.txt for each class, in the format of VOC's evaluation server.

    A line is a detection: image id, score, x0, y0, x1, y1, the first and last pixel in the box, counted from 1.

    Args:
        dataset_name: registered data.
        folder: the folder that the files are written to.
    """

    def __init__(self, dataset_name: str, folder: Path):
        super().__init__(dataset_name)
        self.folder = folder

    def figures(self, overlaps: Overlaps) -> dict:
        """Writes the files. Returns {}: without annotations there are no figures."""
        detections = overlaps.detections
        stems = detections.of_images([Path(str(image)).stem for image in detections.images])
        for i, name in enumerate(self.classes):
            of_class = detections.classes == i
            rows = zip(stems[of_class], detections.scores[of_class], detections.boxes[of_class], strict=True)
            lines = [
                f"{stem} {score:.6f} {x0 + 1:.1f} {y0 + 1:.1f} {x0 + w:.1f} {y0 + h:.1f}\n"
                for stem, score, (x0, y0, w, h) in rows
            ]
            write_text("".join(lines), self.folder / f"comp4_det_test_{name.replace('/', '_')}.txt")
        return {}
