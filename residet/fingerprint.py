"""What a run is known by: its config, the content of its weights and data, and the version of the code.

`start_log` writes the fingerprint into OUTPUT_DIR/run.json. A tool that takes the figures of a finished run first asks
`check_fingerprint` whether the run is the one that the tool would start now.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from backbones.errors import InputError
from backbones.whole_files import json_or_none, write_json
from residet.plan import RunPlan
from residet.schema.kinds import leaves

import torch
from detectron2.config import CfgNode

FILE = "run.json"

# Keys that change no figure: where a run writes, on which device and with how many workers it runs, how often it saves
# and draws. VERSION is detectron2's number of the config's format.
_NO_EFFECT = {
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CHECKPOINTS_KEPT",
    "TEST.PICTURES",
    "VIS_PERIOD",
    "VERSION",
}
# Keys that name files. The content of the files counts, not their place.
_BY_CONTENT = {
    "MODEL.WEIGHTS",
    "DATASETS.TRAIN",
    "DATASETS.TEST",
    "CLASSIFICATION.DATA",
    "CLASSIFICATION.DOWNLOAD",
    "CLASSIFICATION.CLASS_LIST",
}
_ABSENT = "not there"


def fingerprint(plan: RunPlan) -> dict:
    """The fingerprint of a run that has been prepared, before the run takes the plan's weights.

    Args:
        plan: the run.

    Returns:
        {"config": {key: value}, "weights": {"name", "sha256"}, "data": {key: {"name", "sha256"}}, "code": version}, of
        plain values, as JSON gives them back.
    """
    cfg = plan.cfg
    weights = {"name": cfg.MODEL.WEIGHTS, "sha256": ""}
    if plan.weights:
        weights["sha256"] = _digest_of_state(plan.weights.state)
    return {
        "config": plain_config(cfg),
        "weights": weights,
        "data": {key: {"name": name, "sha256": digest} for key, (name, digest) in plan.data().items()},
        "code": importlib.metadata.version("residet"),
    }


def plain_config(cfg: CfgNode) -> dict:
    """Every key that may change a figure, with its value as JSON gives it back. Keys that name files are left out."""
    counted = {key: value for key, value in leaves(cfg).items() if key not in _NO_EFFECT | _BY_CONTENT}
    return json.loads(json.dumps(counted, default=str))


def write_run(plan: RunPlan) -> None:
    """Writes OUTPUT_DIR/run.json: the fingerprint, the command, the time of the start and the environment.

    A run that goes on keeps the weights that it was started with.
    """
    file = Path(plan.cfg.OUTPUT_DIR, FILE)
    before, now = read_run(file.parent), fingerprint(plan)
    if plan.resume and before:
        now["weights"] = before["fingerprint"]["weights"]
    content = {
        "fingerprint": now,
        "command": [*map(str, sys.argv)],
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
    }
    write_json(content, file)


def read_run(folder: Path) -> dict | None:
    """The content of run.json in a folder; None if no run has left one there, or the file is damaged."""
    content = json_or_none(Path(folder, FILE))
    try:
        known_by = content["fingerprint"]
        whole = all(isinstance(known_by[key], dict) for key in ("config", "weights", "data")) and "code" in known_by
    except (KeyError, TypeError):
        return None
    return content if whole else None


def check_fingerprint(folder: Path, expected: dict) -> None:
    """Raises InputError if the run in `folder` is not the run with the fingerprint `expected`.

    Args:
        folder: OUTPUT_DIR of a run that is finished or can go on.
        expected: the fingerprint of the run that would be started now.

    Raises:
        InputError: the folder has no readable run.json, or holds another run; the message names what differs, the old
            value first.
    """
    remedy = "move the folder away or name another --output"
    run = read_run(folder)
    if not run:
        raise InputError(
            f"{folder}: holds a run without a readable {FILE}, so nothing says which run that was; {remedy}"
        )
    if different := differences(run["fingerprint"], expected):
        listed = "; ".join(different[:5]) + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
        raise InputError(f"{folder}: holds another run than the one asked for: {listed}; {remedy}")


def differences(before: Mapping, now: Mapping) -> list[str]:
    """What differs between two fingerprints, in words: "KEY was OLD, now NEW"."""
    lines = []
    for key in sorted({*before["config"], *now["config"]}):
        old, new = (run["config"].get(key, _ABSENT) for run in (before, now))
        if old != new:
            lines.append(f"{key} was {_short(old)}, now {_short(new)}")
    files = [("MODEL.WEIGHTS", before["weights"], now["weights"])]
    keys = sorted({*before["data"], *now["data"]})
    files += [(key, *(run["data"].get(key, {}) for run in (before, now))) for key in keys]
    for key, old, new in files:
        if old.get("sha256") != new.get("sha256"):
            lines.append(f"{key} was {_named(old)}, now {_named(new)}")
    if before["code"] != now["code"]:
        lines.append(f"residet was {before['code']}, now {now['code']}")
    return lines


def environment() -> dict[str, str]:
    """The machine and the versions of the libraries that a run's figures depend on, for reports."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = {}
    for name in ("residet", "torch", "torchvision", "detectron2", "numpy", "albumentations"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "copy in labgym" if name == "detectron2" else "unknown"
    machine = {"system": platform.platform(), "processor cores": str(os.cpu_count()), "GPU": gpu}
    return {"python": platform.python_version(), **versions, **machine}


def origin() -> dict:
    """What stands beside the figures of this process: {"command", "date": "YYYY-MM-DD", "versions"}."""
    date = datetime.now(timezone.utc).date().isoformat()
    return {"command": shlex.join(map(str, sys.argv)), "date": date, "versions": environment()}


def digest(*parts: object) -> str:
    """SHA-256 of the parts: bytes as they are, anything else as JSON."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode())
    return sha.hexdigest()


def _digest_of_state(state: Mapping[str, torch.Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _named(file: Mapping) -> str:
    if not file.get("sha256"):
        return "none"
    return f"{file.get('name')} (content {str(file['sha256'])[:12]}…)"


def _short(value: object) -> str:
    text = value if value is _ABSENT else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"
