"""The errors that the papers print (published.yaml): beside ours, and as a list of runs that would reproduce them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from backbones.catalogue import get_spec

import yaml
from detectron2.config import CfgNode

CIFAR10 = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}


@dataclass(frozen=True)
class Table:
    """One table of published.yaml, which says what its fields are."""

    name: str
    source: str
    data: str
    config: str
    error: dict[str, list[float]]
    configs: dict[str, str] = field(default_factory=dict)
    test: dict = field(default_factory=dict)
    normalise: str = ""
    way: int = 0

    def recipe(self, arch: str) -> str:
        """Path of the recipe below configs/classification."""
        return self.configs.get(arch, self.config)

    def applies(self, cfg: CfgNode) -> bool:
        """Whether a run tests as the table does, and on its data."""
        c = cfg.CLASSIFICATION
        ours = {"VIEWS": c.TEST.VIEWS, "SIZE": c.TEST.SIZE or c.SIZE, "RESIZE": c.RESIZE}
        return (
            self.data == _data_of(cfg)
            and all(ours[key] == value for key, value in self.test.items())
            and (self.test or c.TEST.VIEWS == "crop")
            and self.normalise in ("", c.NORMALISE)
        )


@cache
def tables() -> dict[str, Table]:
    """All tables by name."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return {name: Table(name, **fields) for name, fields in content.items()}


def _data_of(cfg: CfgNode) -> str:
    """Which of the papers' data sets a run has, "" for another."""
    c = cfg.CLASSIFICATION
    if c.DATASET in ("cifar10", "cifar100", "svhn"):
        return c.DATASET
    if set(c.CLASSES) == CIFAR10:
        return "cifar10"
    return {1000: "imagenet", 5000: "imagenet5k"}.get(len(c.CLASSES), "")


def compare(cfg: CfgNode, results: dict[str, float]) -> Iterator[str]:
    """Lines that set the errors of a run beside those that a paper prints for the same network, test and data.

    No line where no paper prints such an error, as on a user's own data.
    """
    arch = get_spec(cfg.CLASSIFICATION.ARCH).name
    for table in tables().values():
        if arch not in table.error or not table.applies(cfg):
            continue
        suffix = f"_{table.way}way" if table.way else ""
        for k, published in zip((1, 5), table.error[arch], strict=False):
            ours = results.get(f"top{k}_error{suffix}")
            if ours is not None:
                difference = f"{ours - published:+.2f}"
                yield f"top{k} error {ours:.2f} %, the paper's {published:.2f} % ({table.source}): {difference}"
