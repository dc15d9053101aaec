"""Analyses the errors of a detector: TIDE's kinds of error, a confusion matrix, and precision-recall curves."""

from __future__ import annotations

from pathlib import Path

from backbones.whole_files import whole_file, write_json
from detection.evaluation import tide
from detection.evaluation.boxes import BoxEvaluator
from detection.evaluation.overlaps import Overlaps
from detection.evaluation.voc import VOCEvaluator

import matplotlib
import numpy as np
from matplotlib.figure import Figure

_SCORE = 0.5  # least score of a detection in the confusion matrix
BACKGROUND = "background"
_LARGEST = 16.0  # inches, side of the largest picture


class ErrorAnalysis(BoxEvaluator):
    """Writes errors.json, confusion.png and precision_recall.png.

    Args:
        dataset_name: registered data with annotations.
        folder: the folder that the files are written to.
    """

    def __init__(self, dataset_name: str, folder: Path):
        super().__init__(dataset_name)
        self.voc = VOCEvaluator(dataset_name)
        self.folder = folder

    def figures(self, overlaps: Overlaps) -> dict[str, dict[str, float]]:
        """Writes the files.

        Returns:
            {"errors": {"Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}}: the AP50, in %, that each
            kind of error costs (see `tide.errors`).
        """
        matched = tide.match(overlaps)
        costs = tide.errors(matched)
        matrix = confusion_matrix(overlaps, len(self.classes))
        names = [*self.classes, BACKGROUND]
        counts = {name: int(np.sum(matched.kind == i)) for i, name in enumerate(tide.KINDS)}
        content = {"dAP50": costs, "count": counts, "confusion": {"classes": names, "matrix": matrix.tolist()}}
        write_json(content, self.folder / "errors.json")
        draw_confusion(matrix, names, self.folder / "confusion.png")
        class_matches = zip(self.classes, self.voc.matches(overlaps), strict=True)
        curves = {name: m.curve(tide.FOREGROUND) for name, m in class_matches if m.objects}
        draw_curves(curves, self.folder / "precision_recall.png")
        return {"errors": {k: v for k, v in costs.items() if k != "AP50"}}


def confusion_matrix(overlaps: Overlaps, classes: int) -> np.ndarray:
    """Counts which classes a detector confuses.

    Detections with a score of 0.5 or more are matched with objects, the highest score first. A detection of any class
    matches the object with the largest IoU, among the objects that no other detection has, if the IoU is 0.5 or more.

    Args:
        overlaps: detections and objects.
        classes: number of classes K.

    Returns:
        (K + 1, K + 1) counts. Rows are classes of objects, columns are classes of detections. The last row counts
        detections without an object, the last column objects without a detection.
    """
    found, objects = overlaps.detections, overlaps.objects
    sure = found.scores >= _SCORE
    near = (overlaps.iou >= tide.FOREGROUND) & sure[overlaps.detection] & ~objects.ignored[overlaps.object]
    _, places = overlaps.ranks(found.of_images(range(len(found.images))))
    owned = tide.owners(overlaps, np.flatnonzero(near), places)
    matrix = np.zeros((classes + 1, classes + 1), int)
    rows = np.append(objects.classes, classes)[owned[sure]]  # the last value is for detections without an object
    np.add.at(matrix, (rows, found.classes[sure]), 1)
    missed = ~objects.ignored
    missed[owned[owned >= 0]] = False
    np.add.at(matrix, (objects.classes[missed], classes), 1)
    return matrix


def draw_confusion(matrix: np.ndarray, names: list[str], path: Path) -> None:
    """Draws a confusion matrix. Colours are shares of the row; counts are printed for up to 30 names.

    Args:
        matrix: the counts that `confusion_matrix` returns.
        names: names of the classes and of the background, in the order of the rows.
        path: the PNG file to write.
    """
    size = min(max(4.0, 0.45 * len(names) + 2), _LARGEST)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 30:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    font = min(10.0, 50 * size / len(names))  # lines of text do not overlap
    labels = [shorten(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(range(len(names)), labels, fontsize=font, parse_math=False)
    axes.set_xlabel(f"detection, score ≥ {_SCORE}")
    axes.set_ylabel(f"object, IoU ≥ {tide.FOREGROUND}")
    _save(figure, path)


def draw_curves(curves: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Draws a curve of precision over recall for each class. The legend has the classes if there are at most 20.

    Args:
        curves: name of a class -> recall (N,) and precision (N,) after each detection, best score first.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab20"].colors
    for i, (name, (recall, precision)) in enumerate(curves.items()):
        label = shorten(name) if len(curves) <= 20 else None
        axes.plot([0, *recall], [1, *precision], label=label, linewidth=1, color=colours[i % len(colours)])
    axes.set(xlabel="recall", ylabel="precision, IoU > 0.5", xlim=(0, 1), ylim=(0, 1.02))
    if 0 < len(curves) <= 20:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)
    _save(figure, path)


def shorten(name: str, length: int = 30) -> str:
    """A name that fits beside a chart: the middle is left out, and characters that cannot be shown become one sign."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 + 1 :]}"


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
