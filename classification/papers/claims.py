"""The papers' claims in small: short trainings on CIFAR-10 whose errors show a claim, or do not, on two CPU cores."""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from classification.papers.reproduce import Arguments
from residet.metrics import read_metrics
from residet.sweep import deadline_in, finish

from tabulate import tabulate

# Recipe -> iterations of its whole schedule on CIFAR-10.
_LENGTHS = {"cifar_resnet.yaml": 64_000, "cifar_wrn.yaml": 78_000, "cifar_resnext.yaml": 117_000}
_LAST = 0.1  # part of a training at its end over which the training error is averaged


@dataclass(frozen=True)
class Claim:
    """Two networks of which a paper says how their errors compare.

    Attributes:
        words: the claim.
        source: paper and section.
        config: recipe of both networks, below configs/classification.
        better: the network whose error should be lower, or for `at_most` not higher.
        other: the other network.
        training: whether the claim is of the training error, too.
        at_most: whether the claim is that `better` is not worse, rather than that it is better.
    """

    words: str
    source: str
    config: str
    better: str
    other: str
    training: bool = False
    at_most: bool = False


CLAIMS = (
    Claim(
        "a deeper plain network is worse",
        "ResNet, Figs. 1 and 6",
        "cifar_resnet.yaml",
        "cifar_plain20",
        "cifar_plain56",
        training=True,
    ),
    Claim(
        "a deeper residual network is not",
        "ResNet, Fig. 6",
        "cifar_resnet.yaml",
        "cifar_resnet56",
        "cifar_resnet20",
        training=True,
        at_most=True,
    ),
    Claim(
        "wide and shallow (0.69 M parameters) beats thin and deep (0.56 M)",
        "Wide ResNet, section 3 and Table 4",
        "cifar_wrn.yaml",
        "cifar_wrn16_2",
        "cifar_wrn40_1",
    ),
    # Dropout lowers the error of WRN-28-10, by 0.11 in Table 6, whose training takes days on two cores.
    Claim(
        "dropout costs a small wide network accuracy (in the paper WRN-16-4: 5.24 %, 5.02 % without)",
        "Wide ResNet, Table 6",
        "cifar_wrn.yaml",
        "cifar_wrn16_2",
        "cifar_wrn16_2_d0.3",
    ),
    Claim(
        "cardinality beats width at equal FLOPs",
        "ResNeXt, sections 5.1 and 6.2",
        "cifar_resnext.yaml",
        "cifar_resnext29s_4x6d",
        "cifar_resnext29s_1x16d",
    ),
)


@dataclass(frozen=True)
class ShortRun:
    """A short training of one network with one seed."""

    config: str
    arch: str
    seed: int

    def folder(self, output: Path) -> Path:
        """OUTPUT_DIR of the run."""
        return output / self.arch / f"seed_{self.seed}"

    def training(self, configs: Path, output: Path, iterations: int) -> Arguments:
        """The arguments of tools/pretrain.py that train the network, without those of the user.

        The recipe's steps of the learning rate come as early in proportion.

        Args:
            configs: the folder configs/classification.
            output: the folder of all runs.
            iterations: length of the training.
        """
        keys = {"CLASSIFICATION.SCHEDULE_SCALE": iterations / _LENGTHS[self.config], "SEED": self.seed}
        keys |= {"CLASSIFICATION.EVAL_EPOCHS": 2, "OUTPUT_DIR": self.folder(output)}
        flags = ["--config-file", str(configs / self.config), "--arch", self.arch]
        return Arguments(flags, [str(x) for pair in keys.items() for x in pair])

    def errors(self, output: Path) -> tuple[float, float] | None:
        """Test error and training error in %; None where the run is not finished.

        The training error is the mean over the last tenth of the iterations, on augmented images; NaN without
        metrics.json.
        """
        folder = self.folder(output)
        if not (folder / "results.json").is_file():
            return None
        metrics = read_metrics(folder / "metrics.json")
        start = (1 - _LAST) * max(metrics, default=0)
        last = [m["train_error"] for i, m in metrics.items() if "train_error" in m and i >= start]
        test_error = json.loads((folder / "results.json").read_text())["top1_error"]
        return test_error, statistics.fmean(last) if last else math.nan


def short_runs(seeds: Sequence[int]) -> list[ShortRun]:
    """The runs of all claims, each once. All have the first seed before one has the second."""
    pairs = dict.fromkeys((c.config, arch) for c in CLAIMS for arch in (c.better, c.other))
    return [ShortRun(config, arch, seed) for seed in seeds for config, arch in pairs]


def run_claims(
    todo: Sequence[ShortRun],
    pretrain: Sequence[str],
    options: Sequence[str],
    configs: Path,
    output: Path,
    iterations: int,
    minutes: float,
) -> None:
    """Trains the runs that are not finished, until the time is up. The same call goes on from there.

    Args:
        todo: the runs.
        pretrain: the command that runs tools/pretrain.py.
        options: arguments of every run: flags first, KEY VALUE pairs last.
        configs: the folder configs/classification.
        output: the folder of all runs.
        iterations: length of every run.
        minutes: time limit in minutes; 0 for no limit.

    Raises:
        InputError: a run failed.
    """
    deadline = deadline_in(minutes)
    for run in todo:
        training = run.training(configs, output, iterations)

        def command(flags: Sequence[str], training: Arguments = training) -> list[str]:
            return [*pretrain, *training.joined(options, *flags)]

        if not finish(command, run.folder(output), deadline):
            return


def verdict(claim: Claim, better: Sequence[float], other: Sequence[float]) -> str:
    """Whether errors show a claim: "shown", "not shown", "the opposite", or "no verdict" without runs of both.

    A difference of means counts where it exceeds the standard deviation of the runs, the larger of the two networks'.
    With one seed there is no spread, and any difference counts.

    Args:
        claim: the claim.
        better: errors of the network that should be better, one of each seed, in %.
        other: errors of the other network.
    """
    if not better or not other:
        return "no verdict"
    spread = max(statistics.stdev(errors) if len(errors) > 1 else 0.0 for errors in (better, other))
    gain = statistics.fmean(other) - statistics.fmean(better)
    if claim.at_most:
        return "shown" if gain >= -spread else "the opposite"
    if gain > spread:
        return "shown"
    return "the opposite" if gain < -spread else "not shown"


def measured(seeds: Sequence[int], output: Path) -> list[dict]:
    """The errors that the finished runs have reached, for each claim and kind of error.

    Returns:
        [{"claim", "source", "error": "test" or "training", "networks": [the one that should be lower, the other],
        "seeds": [[each seed whose error is known], likewise], "errors": [[% of each of these seeds], likewise],
        "verdict"}].
    """
    found = {(r.arch, r.seed): r.errors(output) for r in short_runs(seeds)}
    rows = []
    for claim in CLAIMS:
        networks = [claim.better, claim.other]
        for kind, name in enumerate(("test", "training")[: 1 + claim.training]):
            known = [
                {seed: errors[kind] for seed in seeds if (errors := found[arch, seed]) and not math.isnan(errors[kind])}
                for arch in networks
            ]
            pair = [[*of_seeds.values()] for of_seeds in known]
            row = {"claim": claim.words, "source": claim.source, "error": name, "networks": networks}
            rows.append(row | {"seeds": [[*of] for of in known], "errors": pair, "verdict": verdict(claim, *pair)})
    return rows


def summary(rows: Sequence[dict]) -> str:
    """A text table of what `measured` gives: the claim, mean ± std (number of seeds) of both networks, the verdict."""
    titles, body = ["claim", "source", "of", "should be lower", "than", "verdict"], []
    for row in rows:
        figures = [f"{arch} {_spread(x)}" for arch, x in zip(row["networks"], row["errors"], strict=True)]
        body.append([row["claim"], row["source"], f"{row['error']} error", *figures, row["verdict"]])
    return tabulate(body, titles, tablefmt="github")


def _spread(errors: Sequence[float]) -> str:
    if not errors:
        return "-"
    std = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{statistics.fmean(errors):.2f}{std} ({len(errors)})"


def draw(seeds: Sequence[int], output: Path, file: Path) -> None:
    """Draws errors over the iterations, a panel for each claim: training errors as lines, test errors as points.

    Args:
        seeds: seeds of the runs, finished or begun.
        output: folder of all runs.
        file: the picture to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, -(-len(CLAIMS) // 2), squeeze=False).flat
    for claim, axes in zip(CLAIMS, panels, strict=False):
        for colour, arch in zip(("tab:blue", "tab:red"), (claim.better, claim.other), strict=True):
            for number, seed in enumerate(seeds):
                metrics = read_metrics(ShortRun(claim.config, arch, seed).folder(output) / "metrics.json")
                for key, style in (("train_error", "-"), ("val/top1_error", "o")):
                    points = [(i, m[key]) for i, m in metrics.items() if key in m]
                    label = arch if style == "o" and not number else None
                    x, y = [i for i, _ in points], [error for _, error in points]
                    axes.plot(x, y, style, color=colour, label=label, linewidth=1, markersize=4)
        axes.set_title("\n".join(textwrap.wrap(claim.words, 48)), fontsize=9)
        axes.set(xlabel="iteration", ylabel="error, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in panels:  # those that no claim has taken
        axes.set_axis_off()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
