"""Writes the checkpoints of a run, and fills a run from the checkpoint from which --resume goes on."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import save_checkpoint
from backbones.weights.load import load_state
from backbones.whole_files import write_text

from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor, nn


class RunCheckpointer(Checkpointer):
    """fvcore's Checkpointer, with metadata in the file. A file appears complete or not at all.

    Args:
        model: the model whose parameters are saved.
        save_dir: folder of the checkpoints.
        metadata: items that a checkpoint holds beside the parameters, such as task and arch (backbones.weights.read).
        checkpointables: further objects with state_dict() and load_state_dict(), by the name of their item in the file.
    """

    def __init__(self, model: nn.Module, save_dir: str, metadata: dict, **checkpointables):
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)
        self.metadata = metadata

    def save(self, name: str, *, resumable: bool = True, model: nn.Module | None = None) -> None:
        """Writes `name`.pth in the main process. Every process must call this method, since each has some of the state.

        Args:
            name: name of the file, without its suffix.
            resumable: the file is the latest state of the run, from which --resume goes on.
            model: a model of the same kind, whose parameters are written instead of the trained model's; None for the
                trained model.

        Raises:
            FloatingPointError: a parameter has values that are not finite. The last update can bring them after a
                finite loss.
            InputError: the disk is full, or the file cannot be written for another reason.
        """
        state = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if not self.save_to_disk:
            return
        save_checkpoint({"model": _finite(model or self.model), **self.metadata, **state}, self.path(name))
        if resumable:
            self.tag_last_checkpoint(self.path(name).name)

    def save_model(self, model: nn.Module, name: str) -> None:
        """Writes the parameters of another model of the same kind as `name`.pth, with the metadata but without a state.

        Args:
            model: the model.
            name: name of the file, without its suffix.
        """
        if self.save_to_disk:
            save_checkpoint({"model": _finite(model), **self.metadata}, self.path(name))

    def path(self, name: str) -> Path:
        """The path of the checkpoint `name`, a name without suffix."""
        return Path(self.save_dir) / f"{name}.pth"

    def keep_latest(self, count: int) -> None:
        """Removes all intermediate checkpoints (such as model_0000123.pth) except for the latest `count`."""
        if self.save_to_disk:
            for path in sorted(Path(self.save_dir).glob("model_[0-9]*.pth"))[:-count]:
                path.unlink()

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(last_filename_basename, Path(self.save_dir) / "last_checkpoint")

    def restore(self, checkpoint: dict, path: str) -> None:
        """Fills the model and all `checkpointables` from the content of a checkpoint.

        Args:
            checkpoint: what `backbones.weights.files.read_checkpoint` returned. Used entries are removed from the dict,
                to free their memory.
            path: the file, for messages.

        Raises:
            InputError: the parameters in the checkpoint do not fit the model, or the state is not one of this run.
        """
        load_state(self.model, checkpoint.pop("model"), path)
        for name, target in self.checkpointables.items():
            try:
                target.load_state_dict(checkpoint.pop(name))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as e:
                reason = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
                raise InputError(
                    f"--resume: {path}: its state of the training does not fit this run ({reason}); resume with the "
                    "config that the run was started with, or from an earlier checkpoint"
                ) from e


def _finite(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict. Raises FloatingPointError if it has values that are not finite."""
    state = model.state_dict()
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise FloatingPointError(
            f"{len(broken)} of {len(state)} tensors of the network are not finite after the last update, the first is "
            f"{broken[0]!r}; no checkpoint was written, the last one is from before it."
        )
    return state
