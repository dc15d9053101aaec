"""Writes the proposals of a trained RPN to files, on which a Fast R-CNN can train and be tested."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from backbones.weights.read import Weights
from detection.build import build_model
from detection.checkpoint import load_detector
from detection.data.loader import build_test_loader
from detection.data.proposals import write_proposals
from detection.inference.modes import resolve_plain_testing
from residet.progress import progress

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

log = logging.getLogger("residet")


@torch.no_grad()
def propose(cfg: CfgNode, weights: Weights, files: Mapping[str, Path]) -> None:
    """Writes the proposals of a trained RPN for each data set. A file that exists is left as it is.

    The number of proposals for an image is DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN or
    DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST, whichever is larger, so that the file serves training and testing.

    Args:
        cfg: config of an RPN, or of a Faster R-CNN, which has an RPN.
        weights: weights of an RPN or of a detector with an RPN.
        files: the file to write for each data set, by the data set's registered name.

    Raises:
        InputError: the weights hold no RPN, or an RPN that does not fit the config.
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
            write_proposals((pair for share in gathered for pair in share), file)
            log.info("%s: wrote proposals for %d images", file, sum(map(len, gathered)))
