"""The code of docs/other_detectors.md runs, in its order."""

import re

import backbones
from backbones.weights.files import save_checkpoint

import pytest
import torch
from run_tools import PROJECT, run_tool

PAGE = (PROJECT / "docs" / "other_detectors.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
NOT_RUN = ("mmdet.registry", "mmdet::")  # cannot be installed


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """classifier.pth, and the file that the page exports of it, in the working folder."""
    network = backbones.create_network("resnet18", num_classes=3)
    pixels = {"mean": [110.0, 100.0, 90.0], "std": [60.0, 61.0, 62.0], "channel_order": "RGB"}
    content = {
        "model": network.state_dict(),
        "arch": "resnet18",
        "classes": ["a", "b", "c"],
        "input_size": 64,
        **pixels,
    }
    save_checkpoint(content, tmp_path / "classifier.pth")
    done = run_tool(
        "export.py", tmp_path / "classifier.pth", "--to", "residet", "--output", tmp_path / "classifier_detectron2.pth"
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    return network


def test_the_code_of_the_page_runs(classifier, capsys):
    names, run = {}, 0
    for block in BLOCKS:
        code = compile(block, "docs/other_detectors.md", "exec")
        if not any(word in block for word in NOT_RUN):
            exec(code, names)
            run += 1
    assert run == len(BLOCKS) - 2 >= 6
    assert "res2 torch.Size([2, 64, 16, 24]) 64 4" in capsys.readouterr().out
    # The weights have arrived in each detector.
    expected = classifier.layer4[1].conv2.weight
    for network in (names["network"], names["pyramid"].body, names["detectron2_model"].backbone.bottom_up):
        assert torch.equal(network.layer4[1].conv2.weight, expected)
    backbone = names["ResidetBackbone"]("classifier.pth")
    maps = backbone(names["images"])
    assert [m.shape[1] for m in maps] == [64, 128, 256, 512]
    assert not any(p.requires_grad for p in backbone.network.layer1.parameters())
