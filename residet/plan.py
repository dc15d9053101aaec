"""What a run needs to know before it starts, gathered once: the resolved config, the weights, lines for the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from backbones.weights.read import Weights, read_weights, weights_in
from residet.output import last_checkpoint
from residet.schema.changes import changes
from residet.schema.kinds import Key

from detectron2.config import CfgNode


@dataclass
class RunPlan:
    """A run that can start: everything that comes from outside has been read and checked.

    `classification.prepare.prepare` and `detection.prepare.prepare` make plans, and trainers take them. The data are in
    detectron2's DatasetCatalog or in the cache of `classification.data.datasets.open_split`, under the names in `cfg`.

    Attributes:
        cfg: the config, with everything filled in that follows from data and weights; frozen.
        resume: the run goes on from its last checkpoint.
        weights: the parameters that the run starts from; None for random parameters, and once the model holds the
            parameters (`release`).
        checkpoint: the whole content of the checkpoint that the run goes on from; None for a run that begins, and after
            `release`.
        lines: lines for the log on what was read and chosen.
        command: the command that goes on with the run when it was stopped, for messages.
        train_data: digest of the training data, which the run's checkpoints hold; "" where there are none.
        data: computes what the content of the data is known by: () -> {key of the config: (name of the data, SHA-256)}.
    """

    cfg: CfgNode
    resume: bool = False
    weights: Weights | None = None
    checkpoint: dict | None = None
    lines: list[str] = field(default_factory=list)
    command: str = "the same command with --resume"
    train_data: str = ""
    data: Callable[[], dict[str, tuple[str, str]]] = dict

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
        InputError: the file cannot be read or downloaded, or holds no state of a training where the run goes on.
    """
    plan = RunPlan(cfg, resume)
    if resume:
        path = last_checkpoint(cfg.OUTPUT_DIR)
        plan.checkpoint = read_checkpoint(path)
        state = plan.checkpoint.get("trainer")
        iteration = state.get("iteration") if isinstance(state, dict) else None
        if not isinstance(iteration, int) or iteration < 0:
            raise InputError(
                f"--resume: {path}: holds weights alone, no state of a training to go on from; start a run in another "
                "OUTPUT_DIR with MODEL.WEIGHTS set to the file"
            )
        plan.weights = weights_in(plan.checkpoint, path)
    elif cfg.MODEL.WEIGHTS:
        plan.weights = read_weights(cfg.MODEL.WEIGHTS, arch)
        plan.lines += [plan.weights.origin] if plan.weights.origin else []
    return plan


def check_same_run(plan: RunPlan, metadata: dict, table: Mapping[str, Key]) -> list[str]:
    """Checks that a run that resumes is the run that was started.

    Args:
        plan: the plan of the run that resumes.
        metadata: what the run's own checkpoints would say.
        table: the rows of the keys.

    Returns:
        lines for the log on the keys that have changed since the run was started.

    Raises:
        InputError: the checkpoint is one of another task, arch, classes or training data; or a key has changed that
            makes another run.
    """
    lines = changes(plan.cfg, table, plan.checkpoint["trainer"]["iteration"])
    if plan.checkpoint.get("train_data") not in (None, plan.train_data):
        raise InputError(
            f"--resume: {plan.weights.path}: was trained on other images or annotations; name the data that the run "
            "was started with, or start a run in another OUTPUT_DIR"
        )
    for key in ("task", "arch", "classes"):
        if plan.checkpoint.get(key) != metadata[key]:
            raise InputError(
                f"--resume: {plan.weights.path}: {key} is {plan.checkpoint.get(key)}, here it is {metadata[key]}; "
                "resume with the config and data that the run was started with"
            )
    return lines
