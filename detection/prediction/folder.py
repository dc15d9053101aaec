"""The folder of predictions: what was detected so far, so that a stopped command goes on; results at the end.

settings.json       the detector and its options; another command does not write into the folder
done.jsonl          a line for each image as it is done; the next command passes over these images
predictions.json    all detections in COCO's result format, written at the end
predictions.csv     the same as a table
pictures/           the images with their detections, or the video
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import json_or_none, write_json, write_text
from detection.prediction.detections import Detections

_COLUMNS = ("image", "class", "score", "x0", "y0", "x1", "y1")


class PredictionFolder:
    """The results of one command, in a folder.

    Args:
        folder: a folder that does not exist, is empty, or holds results with the same settings.
        settings: what decides the results: plain values by name.
        classes: names of the detector's classes.

    Attributes:
        pictures: folder of the pictures.
        done: name of an image -> its detections, as `Detections.to_dict` gives them; {"error": …} if it is broken.

    Raises:
        InputError: the folder holds something else, or results with other settings.
    """

    def __init__(self, folder: str | Path, settings: dict, classes: Sequence[str]):
        self.folder = Path(folder)
        self.pictures = self.folder / "pictures"
        self.classes = tuple(classes)
        self._journal = self.folder / "done.jsonl"
        _check_folder(self.folder, settings)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(settings, self.folder / "settings.json")
        self.done = self._read_journal()
        self._file = self._journal.open("a", encoding="utf-8")

    def _read_journal(self) -> dict[str, dict]:
        """What is done. A last line that was not written in full is removed."""
        if not self._journal.is_file():
            return {}
        content = self._journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self._journal.open("rb+") as file:
                file.truncate(len(whole))
        try:
            entries = [json.loads(line) for line in whole.splitlines()]
            return {entry.pop("image"): entry for entry in entries}
        except (ValueError, KeyError, AttributeError) as e:
            raise InputError(f"{self._journal}: is damaged ({e}); remove the folder and start again") from e

    def is_done(self, name: str) -> bool:
        """Whether an image has been looked at. A broken image has not: the user may have replaced it."""
        return "detections" in self.done.get(name, {})

    def add(self, name: str, detections: Detections) -> None:
        """Notes the detections of an image."""
        self._note(name, detections.to_dict())

    def add_broken(self, name: str, error: Exception) -> None:
        """Notes that an image cannot be read."""
        self._note(name, {"error": str(error)})

    def _note(self, name: str, entry: dict) -> None:
        self.done[name] = entry
        self._file.write(json.dumps({"image": name, **entry}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the journal."""
        self._file.close()

    def write_results(self, names: Sequence[str]) -> str:
        """Writes predictions.json and predictions.csv.

        Args:
            names: the images of the command, in the order of the results.

        Returns:
            a line with the number of images, and of objects by class.
        """
        results, rows, counts = [], [], Counter()
        images = [name for name in names if self.is_done(name)]
        for name in images:
            detections = Detections.from_dict(self.done[name], self.classes, source=name)
            results += detections.to_coco(name)
            counts.update(detections.counts())
            shown = name.encode("utf-8", "backslashreplace").decode()  # a name may have bytes that are no text
            columns = detections.names, detections.scores.tolist(), detections.boxes.tolist()
            for kind, score, box in zip(*columns, strict=True):
                rows.append([shown, kind, f"{score:.4f}", *(f"{v:.2f}" for v in box)])
        write_json(results, self.folder / "predictions.json", indent=None)
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([_COLUMNS, *rows])
        write_text(table.getvalue(), self.folder / "predictions.csv")
        by_class = ", ".join(f"{name} {counts[name]}" for name in self.classes if counts[name])
        return f"{len(images)} images, {len(results)} objects{f' ({by_class})' if by_class else ''} → {self.folder}"


def _check_folder(folder: Path, settings: dict) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    held = json_or_none(folder / "settings.json")
    if not isinstance(held, dict) or "predictor" not in held:
        raise InputError(f"--output: {folder} exists and holds no predictions; name another folder")
    if other := [key for key in settings if held.get(key) != settings[key]]:
        raise InputError(
            f"--output: {folder} holds predictions with another {', '.join(other)}; remove the folder or name another"
        )
