"""The runs of a comparison: each config, or each network with one config, from several starts and with seeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.errors import InputError, ToldError
from backbones.registry import spec_of_builder
from backbones.weights.hub import check_source
from detection.config import default_config
from detection.network import put_network
from residet.config import merge_config
from residet.fingerprint import check_fingerprint
from residet.sweep import begun, deadline_in, finish

RANDOM = "random"  # the `start` of a run from random weights


@dataclass(frozen=True)
class Run:
    """One training of the comparison.

    Attributes:
        config: file of the config.
        arch: name of the run's network.
        start: the checkpoint to start from, a file or a name; or "random".
        seed: the config's SEED.
        put: whether the network takes the place of the config's own.
    """

    config: Path
    arch: str
    start: str
    seed: int
    put: bool = False

    def folder(self, output: Path) -> Path:
        """The run's OUTPUT_DIR, a subfolder of `output`."""
        start = RANDOM if self.start == RANDOM else "pretrained"
        network = f"_{self.arch}" if self.put else ""
        return output / f"{self.config.stem}{network}_{start}_{self.seed}"

    def arguments(self, options: Sequence[str], folder: Path, flags: Sequence[str] = ()) -> list[str]:
        """The arguments of tools/train_net.py for this run.

        Args:
            options: the user's arguments for every run, with KEY VALUE pairs last.
            folder: OUTPUT_DIR.
            flags: arguments for this start of the run, such as --resume.
        """
        pairs = ["OUTPUT_DIR", str(folder), "SEED", str(self.seed)]
        pairs += ["MODEL.WEIGHTS", "" if self.start == RANDOM else self.start]
        network = ["--arch", self.arch] if self.put else []
        return ["--config-file", str(self.config), *network, *flags, *options, *pairs]


def runs(configs: Sequence[str], starts: Sequence[str], seeds: Sequence[int], archs: Sequence[str] = ()) -> list[Run]:
    """All combinations of configs, networks, starts and seeds.

    The first seed comes first, so that a comparison is there early.

    Args:
        configs: files of configs.
        starts: "random", or a checkpoint, a file or a name of published weights, in which {arch} stands for the
            network's name.
        seeds: values of SEED.
        archs: networks that take the place of each config's own network; empty for the configs' own networks.

    Raises:
        InputError: a config is broken, a network is unknown, a checkpoint is missing or unknown, or two runs would have
            the same folder.
    """
    networks = []
    for name in configs:
        cfg = default_config()
        merge_config(cfg, name, [])
        for arch in archs:
            put_network(cfg.clone(), arch)
            networks.append((Path(name), get_spec(arch).name, True))
        if not archs:
            networks.append((Path(name), spec_of_builder(cfg.MODEL.BACKBONE.NAME).name, False))
    todo = []
    for seed, (config, arch, put), start in itertools.product(seeds, networks, starts):
        path = start if start == RANDOM else start.replace("{arch}", arch)
        if path != RANDOM:
            check_source(path, arch)
        todo.append(Run(config, arch, path, seed, put))
    folders = [run.folder(Path()) for run in todo]
    if shared := [f.name for f in folders if folders.count(f) > 1]:
        raise InputError(f"{shared[0]}: two runs would share this folder; name no config, network or seed twice")
    return todo


def groups(todo: Sequence[Run], output: Path) -> dict[str, list[Path]]:
    """The folders of the runs that differ in their seed alone, in the order of the runs.

    Returns:
        name, such as resnet50_fpn_random -> the folder of each seed.
    """
    folders: dict[str, list[Path]] = {}
    for run in todo:
        folder = run.folder(output)
        folders.setdefault(folder.name.rpartition("_")[0], []).append(folder)
    return folders


def check_runs(
    todo: Sequence[Run],
    options: Sequence[str],
    output: Path,
    planned: Callable[[list[str]], dict],
    check: Callable[[list[str]], None],
) -> None:
    """Checks that the runs can be started, and that those in the folders are the ones that would be started now.

    Args:
        todo: the runs.
        options: the user's arguments for every run, with KEY VALUE pairs last.
        output: folder of all runs.
        planned: the fingerprint of the run that arguments of tools/train_net.py ask for.
        check: checks arguments of tools/train_net.py, before the data are read.

    Raises:
        InputError: a run cannot be started, or a folder holds another run.
    """
    fingerprints: dict[Run, dict] = {}  # by run with seed 0: data and weights are read once for all seeds
    checked: set[Run] = set()
    for run in todo:
        folder, same = run.folder(output), replace(run, seed=0)
        if not begun(folder) and same not in checked:
            checked.add(same)
            check(run.arguments(options, folder))
        if begun(folder):
            if same not in fingerprints:
                fingerprints[same] = planned(run.arguments(options, folder))
            config = fingerprints[same]["config"] | {"SEED": run.seed}
            check_fingerprint(folder, fingerprints[same] | {"config": config})


def compare(todo: Sequence[Run], train: Sequence[str], options: Sequence[str], output: Path, minutes: float) -> None:
    """Trains the runs that are not finished, until the time is up.

    The run that goes on at that time saves a checkpoint and stops. The next call resumes the run.

    Args:
        todo: the runs, in order.
        train: the command of tools/train_net.py, as words.
        options: arguments for every run, with KEY VALUE pairs last.
        output: folder of all runs.
        minutes: time that may pass; 0 for no limit.

    Raises:
        InputError: runs have failed. The error is raised after the other runs; the message names the failed ones.
    """
    deadline, failed = deadline_in(minutes), {}
    for run in todo:
        folder = run.folder(output)

        def command(flags: Sequence[str], run: Run = run, folder: Path = folder) -> list[str]:
            return [*train, *run.arguments(options, folder, flags)]

        try:
            if not finish(command, folder, deadline):
                break
        except InputError as e:
            failed[folder.name] = e
    if failed:
        kind = ToldError if all(isinstance(e, ToldError) for e in failed.values()) else InputError
        raise kind("; ".join(f"{name}: {e}" for name, e in failed.items()))
