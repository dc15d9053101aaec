"""What a training starts from if the user names no weights."""

from __future__ import annotations

from pathlib import Path

from backbones.errors import InputError
from backbones.registry import spec_of_builder
from backbones.weights.hub import AUTO, locate
from detection.config import from_scratch
from residet.output import in_main_process
from residet.schema.files import read_yaml

from detectron2.config import CfgNode


def check_start(cfg: CfgNode) -> None:
    """Raises InputError if a training would start from random weights and keep a part of them: it would not learn."""
    if kept := _kept(cfg):
        raise InputError(
            f"no weights are named, and {kept} would keep their random values; give --weights auto for the network's "
            "published weights, --weights FILE for your own, or --from-scratch to train all from random weights "
            "(MODEL.BACKBONE.FREEZE_AT 0 MODEL.RESNETS.NORM GN)"
        )


def resolve_start(cfg: CfgNode, *, resume: bool) -> list[str]:
    """Chooses the start of a training on the user's own data, if the config needs weights and the user names none.

    The start is the network's best published weights, as with `--weights auto`. If nobody has published any, or the
    file can be had neither from the cache nor from the network, the start is random weights, as with `--from-scratch`.

    Args:
        cfg: the config of the run. The function changes it.
        resume: the run goes on. It then keeps the start of the config.yaml that it has left in OUTPUT_DIR.

    Returns:
        a line for the log that says why the start is random; no line otherwise.
    """
    if not _kept(cfg):
        return []
    earlier = Path(cfg.OUTPUT_DIR, "config.yaml")
    if resume and earlier.is_file():
        cfg.MODEL.WEIGHTS = read_yaml(earlier)["MODEL"]["WEIGHTS"]
        if not cfg.MODEL.WEIGHTS:
            from_scratch(cfg)
        return []
    if not (reason := in_main_process(lambda: _why_not(spec_of_builder(cfg.MODEL.BACKBONE.NAME).name))):
        cfg.MODEL.WEIGHTS = AUTO
        return []
    from_scratch(cfg)
    return [
        "start: random weights, with group norm and nothing frozen, as --from-scratch sets: the network's published "
        f"weights cannot be had ({reason}); a detector from random weights needs far more images and iterations"
    ]


def _kept(cfg: CfgNode) -> str:
    """Which random values a training would keep, in words; "" if the config names weights or trains everything."""
    stages = cfg.MODEL.BACKBONE.FREEZE_AT
    kept = [f"the first {stages} stages"] if stages else []
    kept += ["all norms (FrozenBN)"] if cfg.MODEL.RESNETS.NORM == "FrozenBN" else []
    return "" if cfg.MODEL.WEIGHTS else " and ".join(kept)


def _why_not(arch: str) -> str:
    """Why there is no file of the best published weights of a network; "" if there is one, downloaded if need be."""
    try:
        locate(AUTO, arch)
    except InputError as e:
        return str(e)
    return ""
