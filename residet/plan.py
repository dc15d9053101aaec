"""What a run needs to know before it starts, gathered once: the resolved config, the weights, lines for the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from backbones.weights.read import Weights, read_weights, weights_in

from detectron2.config import CfgNode


@dataclass
class RunPlan:
    """A run that can start: everything that comes from outside has been read and checked.

    `classification.prepare.prepare` and `detection.prepare.prepare` make it; the trainer takes it. The data are in
    detectron2's DatasetCatalog or in the cache of `classification.data.datasets.open_split`, under the names in `cfg`.

    Attributes:
        cfg: the config, with everything filled in that follows from data and weights; frozen.
        resume: the run goes on from its last checkpoint.
        weights: the parameters that the run starts from; None for random ones. The trainer sets it to None once the
            model holds them.
        checkpoint: the whole content of the checkpoint that the run goes on from; None where it does not. The trainer
            sets it to None, too.
        lines: lines for the log on what was read and chosen.
        command: the command that goes on with the run when it was stopped, for messages.
    """

    cfg: CfgNode
    resume: bool = False
    weights: Weights | None = None
    checkpoint: dict | None = None
    lines: list[str] = field(default_factory=list)
    command: str = "the same command with --resume"

    def release(self) -> None:
        """Frees the memory of the parameters, which the model holds by now."""
        self.weights = self.checkpoint = None


def plan_start(cfg: CfgNode, resume: bool, arch: str) -> RunPlan:
    """Reads the one file that a run starts from: its last checkpoint where it resumes, else MODEL.WEIGHTS.

    MODEL.WEIGHTS stays as the user wrote it. Weights that the user has named are downloaded here, if they are not in
    the cache; a run that resumes downloads nothing.

    Args:
        cfg: the config; prepare fills it in afterwards.
        resume: the run goes on.
        arch: name of the run's network.

    Raises:
        InputError: the file cannot be read or downloaded.
    """
    plan = RunPlan(cfg, resume)
    if resume:
        path = last_checkpoint(cfg.OUTPUT_DIR)
        plan.checkpoint = read_checkpoint(path)
        plan.weights = weights_in(plan.checkpoint, path)
    elif cfg.MODEL.WEIGHTS:
        plan.weights = read_weights(cfg.MODEL.WEIGHTS, arch)
        plan.lines += [plan.weights.origin] if plan.weights.origin else []
    return plan


def last_checkpoint(folder: str | Path) -> Path:
    """The checkpoint of the run in `folder` that --resume goes on from.

    Raises:
        InputError: there is none.
    """
    file = Path(folder, "last_checkpoint")
    try:
        return Path(folder, file.read_text().strip())
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--resume: {file}: cannot be read ({e}); check OUTPUT_DIR") from e


def check_same_run(plan: RunPlan, metadata: dict) -> None:
    """Raises InputError if the checkpoint holds no training, or one of another task, arch or classes.

    Args:
        plan: of the run that resumes.
        metadata: what the run's own checkpoints would say.
    """
    if "trainer" not in plan.checkpoint:
        raise InputError(f"--resume: {plan.weights.path}: holds weights alone, no state of a training to go on from")
    for key in ("task", "arch", "classes"):
        if plan.checkpoint.get(key) != metadata[key]:
            raise InputError(
                f"--resume: {plan.weights.path}: {key} is {plan.checkpoint.get(key)}, here it is {metadata[key]}; "
                "resume with the config and data that the run was started with"
            )
