"""Evaluates several classifiers as one: the mean of their probabilities (ResNet, Table 5; ResNeXt, section 5.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backbones.errors import InputError
from backbones.weights.load import load_state
from backbones.weights.read import Weights, read_weights
from backbones.whole_files import write_json
from classification.evaluator import TopKErrorEvaluator
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.engine.expected import check_expected_results
from residet.plan import RunPlan

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from torch import Tensor

log = logging.getLogger("residet")


@dataclass
class EnsemblePlan:
    """Several evaluations that become one.

    Attributes:
        cfg: the config of the first member, with the OUTPUT_DIR of the ensemble.
        members: the plan of each member, with its own network and preprocessing.
        shares: part of each member in the mean; they sum up to 1.
        lines: lines for the log.
    """

    cfg: CfgNode
    members: list[RunPlan]
    shares: Sequence[float]
    lines: list[str] = field(default_factory=list)
    resume = False  # an evaluation does not go on

    @property
    def data(self) -> Callable[[], dict[str, tuple[str, str]]]:
        """As `RunPlan.data`: all members are tested on the same images."""
        return self.members[0].data

    @property
    def weights(self) -> Weights:
        """The parameters of all members, by which the run is known. The plans of the members hold none any more."""
        files = [read_weights(m.cfg.MODEL.WEIGHTS, m.cfg.CLASSIFICATION.ARCH) for m in self.members]
        state = {f"{i}.{name}": value for i, weights in enumerate(files) for name, value in weights.state.items()}
        return replace(files[0], state=state)


def prepare_ensemble(
    cfg: CfgNode, paths: Sequence[str], shares: Sequence[float], overridden_keys: Collection[str] = ()
) -> EnsemblePlan:
    """Prepares the evaluation of each classifier. A file that names its network is of that network, whatever cfg says.

    Args:
        cfg: the config, with the user's data and test.
        paths: the classifiers' files.
        shares: part of each classifier in the mean.
        overridden_keys: keys that the user has set on the command line.

    Raises:
        InputError: a file cannot be used, or is of other classes than the first; the message names the file.
    """
    members, lines = [], []
    for number, (path, share) in enumerate(zip(paths, shares, strict=True), 1):
        own = cfg.clone()
        own.MODEL.WEIGHTS, own.OUTPUT_DIR = path, str(Path(cfg.OUTPUT_DIR, f"member_{number}"))
        own.CLASSIFICATION.ARCH = read_weights(path, cfg.CLASSIFICATION.ARCH).arch or cfg.CLASSIFICATION.ARCH
        plan = prepare(own, eval_only=True, overridden_keys=overridden_keys)
        first, classes = (members or [plan])[0].cfg.CLASSIFICATION.CLASSES, own.CLASSIFICATION.CLASSES
        if tuple(classes) != tuple(first):
            raise InputError(
                f"{path}: knows {len(classes)} classes, {paths[0]} {len(first)}, or they are in another order; take "
                "classifiers of the same classes"
            )
        lines += [f"member {path}: {own.CLASSIFICATION.ARCH}, share {share:.3g}", *plan.lines]
        plan.release()  # each is read again when its turn comes, so that one network at a time is in memory
        members.append(plan)
    joined = members[0].cfg.clone()
    joined.defrost()
    joined.OUTPUT_DIR = cfg.OUTPUT_DIR
    joined.freeze()
    return EnsemblePlan(joined, members, shares, lines)


class _Probabilities(DatasetEvaluator):
    """Adds a member's share of the probabilities to a sum, image by image in the order of the loader.

    Attributes:
        labels: (N,) true classes of this process's images.
        total: (N, classes) sum over the members.
    """

    def __init__(self):
        self.labels = self.total = None

    def start(self, share: float, *, logits: bool) -> None:
        """Begins with the next member, whose outputs are logits or probabilities."""
        self._share, self._logits = share, logits

    def reset(self):
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def process(self, inputs: dict[str, Tensor], outputs: Tensor):
        self._scores.append((outputs.float().softmax(1) if self._logits else outputs.float()).cpu())
        self._labels.append(inputs["label"].cpu())

    def evaluate(self) -> None:
        """Adds the member. Members see the same images in the same order: the loaders shuffle nothing."""
        if not self._scores:  # a process without an image
            return
        scores, self.labels = self._share * torch.cat(self._scores), torch.cat(self._labels)
        self.total = scores if self.total is None else self.total + scores


def evaluate_ensemble(plan: EnsemblePlan) -> dict:
    """Evaluates the mean of the members' probabilities on the val split, and each member alone.

    Returns:
        {"images": number, "top1_error": in %, …, "members": the same figures of each member}; {} but in the main
        process. They are written to OUTPUT_DIR/results.json.
    """
    joined, alone = _Probabilities(), []
    for member, share in zip(plan.members, plan.shares, strict=True):
        cfg = member.cfg
        weights = read_weights(cfg.MODEL.WEIGHTS, cfg.CLASSIFICATION.ARCH)
        model = ClassificationTrainer.build_model(cfg)
        load_state(model, weights.state, weights.path)
        del weights
        joined.start(share, logits=cfg.CLASSIFICATION.TEST.VIEWS == "crop")
        errors: TopKErrorEvaluator = ClassificationTrainer.build_evaluator(cfg, "val")
        loader = ClassificationTrainer.build_test_loader(cfg, "val")
        errors_alone = inference_on_dataset(model, loader, [errors, joined])
        alone.append({"weights": cfg.MODEL.WEIGHTS} | (errors_alone or {}).get("val", {}))
    errors.reset()
    if joined.total is not None:
        errors.process({"label": joined.labels}, joined.total)
    results = errors.evaluate()
    if not comm.is_main_process():
        return {}
    content = results["val"] | {"members": alone}
    for member, values in zip(plan.members, alone, strict=True):
        log.info("%s, %s: %s", values["weights"], member.cfg.CLASSIFICATION.ARCH, _errors(values))
    log.info("ensemble of %d on %d images: %s", len(alone), content["images"], _errors(content))
    write_json(content, Path(plan.cfg.OUTPUT_DIR, "results.json"))
    check_expected_results(plan.cfg, results)
    return content


def _errors(values: dict) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v:.2f} %" for k, v in values.items() if "error" in k)
