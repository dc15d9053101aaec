"""The checkpoints of a run: written whole, read without unrestricted pickle, found again by --resume."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from backbones.weights.load import load_state

from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn


class RunCheckpointer(Checkpointer):
    """fvcore's, with metadata in the file, files that appear whole, and loading without unrestricted pickle."""

    def __init__(self, model: nn.Module, save_dir: str, metadata: dict, **checkpointables):
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.metadata = metadata

    def save(self, name: str, *, resumable: bool = True, model: nn.Module | None = None) -> None:
        """Writes `name`.pth. To be called in every process: each has a part of the state.

        Args:
            name: of the file, without suffix.
            resumable: it is the latest state of the run, from which --resume goes on.
            model: whose parameters, where they are not those that are trained.

        Raises:
            InputError: the disk is full or refuses.
        """
        state = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if not self.save_to_disk:
            return
        save_checkpoint({"model": (model or self.model).state_dict(), **self.metadata, **state}, self.path(name))
        if resumable:
            self.tag_last_checkpoint(self.path(name).name)

    def save_model(self, model: nn.Module, name: str) -> None:
        """Writes the parameters of another model of the same kind, with the same metadata, as `name`.pth."""
        if self.save_to_disk:
            save_checkpoint({"model": model.state_dict(), **self.metadata}, self.path(name))

    def path(self, name: str) -> Path:
        return Path(self.save_dir) / f"{name}.pth"

    def keep_latest(self, count: int) -> None:
        """Removes all but the latest `count` of the checkpoints on the way, model_0000123.pth."""
        if self.save_to_disk:
            for path in sorted(Path(self.save_dir).glob("model_[0-9]*.pth"))[:-count]:
                path.unlink()

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        partial = Path(self.save_dir) / "last_checkpoint.partial"
        partial.write_text(last_filename_basename)
        partial.replace(partial.with_suffix(""))

    def _load_file(self, f: str) -> dict:
        self._file = f
        return read_checkpoint(f)

    def _load_model(self, checkpoint: dict) -> None:
        load_state(self.model, checkpoint.pop("model"), self._file)


def last_checkpoint(cfg) -> str:
    """Path of the checkpoint in OUTPUT_DIR that --resume goes on from."""
    return str(Path(cfg.OUTPUT_DIR) / Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text().strip())


def check_same_run(cfg, metadata: dict) -> None:
    """Raises InputError if the checkpoint to resume is of another task, arch or classes than `metadata`."""
    path = last_checkpoint(cfg)
    checkpoint = read_checkpoint(path)
    for key in ("task", "arch", "classes"):
        if checkpoint.get(key) != metadata[key]:
            raise InputError(
                f"--resume: {path}: {key} is {checkpoint.get(key)}, here it is {metadata[key]}; "
                "resume with the config and data that the run was started with"
            )
