"""Proposals of a trained RPN, written for another detector to train and be tested on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from backbones.weights.read import Weights
from detection.checkpoint import load_detector
from detection.data.loader import build_test_loader
from detection.data.proposals import write_proposals
from detection.inference.modes import resolve_plain_testing
from residet.progress import progress

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm

log = logging.getLogger("residet")


@torch.no_grad()
def propose(cfg: CfgNode, weights: Weights, files: Mapping[str, Path]) -> None:
    """Writes what a trained RPN proposes; files that exist stay.

    There are as many proposals of an image as training or testing takes, DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN and
    _TEST, whichever is more.

    Args:
        cfg: config of the RPN, or of a Faster R-CNN that has one.
        weights: a detector's, with an RPN.
        files: the file to write, by the name of a registered data set.

    Raises:
        InputError: the weights hold no RPN, or another one.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME = "ProposalNetwork", "RPN"
    cfg.MODEL.LOAD_PROPOSALS = False
    resolve_plain_testing(cfg)
    rpn, data = cfg.MODEL.RPN, cfg.DATASETS
    rpn.PRE_NMS_TOPK_TEST = max(rpn.PRE_NMS_TOPK_TEST, rpn.PRE_NMS_TOPK_TRAIN)
    rpn.POST_NMS_TOPK_TEST = max(data.PRECOMPUTED_PROPOSAL_TOPK_TRAIN, data.PRECOMPUTED_PROPOSAL_TOPK_TEST)
    model = build_model(cfg)
    load_detector(cfg, model, weights, for_training=False)
    model.eval()
    for name, file in files.items():
        if file.is_file():
            continue
        proposals = []
        for batch in progress(build_test_loader(cfg, name), desc=f"propose {name}", unit="img", leave=False):
            for entry, output in zip(batch, model(batch), strict=True):
                proposals.append((entry["image_id"], output["proposals"].to("cpu")))
        gathered = comm.gather(proposals)
        if comm.is_main_process():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_proposals((p for part in gathered for p in part), file)
            log.info("%s: proposals for %d images", file, sum(map(len, gathered)))
