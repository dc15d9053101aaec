"""The model card of a real run of a classifier."""

import json
import re

import torch
from run_tools import PROJECT, pretrain


def test_the_card_says_what_the_run_did_and_its_code_loads_the_network(shapes, tmp_path, monkeypatch):
    config = PROJECT / "configs" / "demo" / "pretrain_resnet18.yaml"
    short = ["CLASSIFICATION.EPOCHS", 1, "CLASSIFICATION.EVAL_EPOCHS", 1, "SOLVER.IMS_PER_BATCH", 16]
    short += ["CLASSIFICATION.WARMUP_EPOCHS", 0, "CLASSIFICATION.STEP_EPOCHS", "()", "DATALOADER.NUM_WORKERS", 0]
    done = pretrain("--config-file", config, "--data", shapes / "crops", *short, "OUTPUT_DIR", tmp_path)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "model_card.md").read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    assert f"| top1 error | {results['top1_error']:.4g} |" in card
    stars = len([*(shapes / "crops" / "train" / "star").iterdir()])
    assert re.search(rf"^\| star \| {stars} \| \d+ \|$", card, re.M)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    monkeypatch.chdir(tmp_path)
    names = {"images": torch.rand(2, 3, 64, 64)}
    exec(code, names)
    assert names["logits"].shape == (2, 5)
