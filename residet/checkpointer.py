"""The checkpoints of a run: written whole, and found again by --resume."""

from __future__ import annotations

from pathlib import Path

from backbones.weights.files import save_checkpoint
from backbones.weights.load import load_state
from backbones.whole_files import write_text

from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn


class RunCheckpointer(Checkpointer):
    """fvcore's Checkpointer, with metadata in the file and files that appear whole.

    Args:
        model: whose parameters are saved.
        save_dir: folder of the checkpoints.
        metadata: what a checkpoint says about its parameters.
        checkpointables: what else has a state.
    """

    def __init__(self, model: nn.Module, save_dir: str, metadata: dict, **checkpointables):
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.metadata = metadata

    def save(self, name: str, *, resumable: bool = True, model: nn.Module | None = None) -> None:
        """Writes `name`.pth. Every process must call this method, since each has a part of the state.

        Args:
            name: name of the file, without its suffix.
            resumable: the file is the latest state of the run, from which --resume goes on.
            model: another model of the same kind, whose parameters are written in the place of the trained model's.

        Raises:
            InputError: the disk is full, or the file cannot be written for another reason.
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
        """The file of the checkpoint `name`."""
        return Path(self.save_dir) / f"{name}.pth"

    def keep_latest(self, count: int) -> None:
        """Removes all but the latest `count` of the intermediate checkpoints, model_0000123.pth."""
        if self.save_to_disk:
            for path in sorted(Path(self.save_dir).glob("model_[0-9]*.pth"))[:-count]:
                path.unlink()

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(last_filename_basename, Path(self.save_dir) / "last_checkpoint")

    def restore(self, checkpoint: dict, path: str) -> None:
        """Fills the model and everything else that has a state from the content of a checkpoint.

        Args:
            checkpoint: what `backbones.weights.files.read_checkpoint` returned; its entries are taken out.
            path: the file, for messages.

        Raises:
            InputError: the checkpoint does not fill the model.
        """
        load_state(self.model, checkpoint.pop("model"), path)
        for name, target in self.checkpointables.items():
            target.load_state_dict(checkpoint.pop(name))
