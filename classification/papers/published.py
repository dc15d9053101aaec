"""The errors that the papers print (published.yaml), to compare a run with and to choose runs that reproduce them."""

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
    """One table of published.yaml.

    Attributes:
        name: the name that `tools/reproduce.py` takes.
        source: paper and table.
        data: name of the data set: imagenet, imagenet5k, cifar10, cifar100 or svhn.
        config: file name of the recipe, below configs/classification.
        error: {network: [top-1 error, top-5 error]} in %; some papers print the top-1 error only, or draw a curve and
            print none.
        configs: {network: file name of its recipe}, for networks that have a recipe of their own.
        test: keys of CLASSIFICATION.TEST, and RESIZE, as the paper tests; empty for the central crop.
        normalise: the value of CLASSIFICATION.NORMALISE that the figures belong to; "" for any.
        statistic: over which runs a figure is taken, such as "median of 5"; "single run" where the paper is silent.
        statistics: {network: its statistic}, where it is another.
        spread: {network: [mean, standard deviation]} that the paper prints beside the error, in %.
        way: number of classes among which the error is taken, if the network knows more; 0 for all classes.
    """

    name: str
    source: str
    data: str
    config: str
    error: dict[str, list[float]]
    configs: dict[str, str] = field(default_factory=dict)
    test: dict = field(default_factory=dict)
    normalise: str = ""
    statistic: str = "single run"
    statistics: dict[str, str] = field(default_factory=dict)
    spread: dict[str, list[float]] = field(default_factory=dict)
    way: int = 0

    def recipe(self, arch: str) -> str:
        """File name of the recipe that trains the network `arch`, below configs/classification."""
        return self.configs.get(arch, self.config)

    def statistic_of(self, arch: str) -> str:
        """Over which runs the figure of the network `arch` is taken, such as "median of 5"."""
        return self.statistics.get(arch, self.statistic)

    def applies(self, cfg: CfgNode) -> bool:
        """Whether a run uses the data set, the test and the normalisation of the table."""
        c = cfg.CLASSIFICATION
        settings = {"VIEWS": c.TEST.VIEWS, "SIZE": c.TEST.SIZE or c.SIZE, "RESIZE": c.RESIZE}
        return (
            self.data == _data_of(cfg)
            and all(settings[key] == value for key, value in self.test.items())
            and (self.test or c.TEST.VIEWS == "crop")
            and self.normalise in ("", c.NORMALISE)
        )


@cache
def tables() -> dict[str, Table]:
    """All tables of published.yaml, by name."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return {name: Table(name, **fields) for name, fields in content.items()}


def _data_of(cfg: CfgNode) -> str:
    """Name of the paper's data set that a run uses; "" for any other data."""
    c = cfg.CLASSIFICATION
    if c.DATASET in ("cifar10", "cifar100", "svhn"):
        return c.DATASET
    if set(c.CLASSES) == CIFAR10:
        return "cifar10"
    return {1000: "imagenet", 5000: "imagenet5k"}.get(len(c.CLASSES), "")


def compare(cfg: CfgNode, results: dict[str, float]) -> Iterator[str]:
    """Compares the errors of a run with those that the papers print for the same network, test and data.

    Args:
        cfg: the config of the run.
        results: {"top1_error": %, "top5_error": %, …}, as `TopKErrorEvaluator` gives them.

    Yields:
        a line for the log, for each published error. On a user's own data there is no line.
    """
    arch = get_spec(cfg.CLASSIFICATION.ARCH).name
    for table in tables().values():
        if arch not in table.error or not table.applies(cfg):
            continue
        suffix = f"_{table.way}way" if table.way else ""
        for k, published in zip((1, 5), table.error[arch], strict=False):
            measured = results.get(f"top{k}_error{suffix}")
            if measured is not None:
                difference = f"{measured - published:+.2f}"
                yield f"top{k} error {measured:.2f} %, the paper's {published:.2f} % ({table.source}): {difference}"
