"""The model card: every class and name is text in it, and what it says of loading the file is true."""

from backbones.weights.published import published
from classification.config import default_config
from residet.card import Card, DataOfCard, recipe_of, write_card

import pytest

NASTY = ["<script>alert(1)</script>", "a|b", "**bold**", "[x](http://a)", "`code`", "two\nlines", "\x1b[31mred"]


def card(classes, figures):
    return Card(
        title="a network",
        tag="image-classification",
        network={"architecture": "resnet18"},
        code='network = load("model_final.pth")',
        preprocessing={"mean": "1, 2, 3"},
        classes=classes,
        data=[DataOfCard("train", "training", 3, dict.fromkeys(classes, 1))],
        recipe={"seed": 0},
        figures_of="In %.",
        figures={"val": figures},
        limits=["None are known."],
    )


def written(tmp_path, classes=("a",), weights="", figures=None):
    cfg = default_config()
    cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS = str(tmp_path), weights
    (tmp_path / "model_final.pth").touch()
    return write_card(cfg, card(classes, figures or {"top1 error": 12.5}), 11_700_000).read_text()


def test_names_of_classes_are_text(tmp_path):
    text = written(tmp_path, NASTY, figures={f"AP {name}": 1.0 for name in NASTY})
    assert "<script>" not in text.replace(r"\<script\>", "")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.endswith(" | 1 |")]
    assert len(rows) == 2 * len(NASTY)  # one of counts and one of AP for each class: no name breaks its row
    assert r"a\|b" in text and r"\*\*bold\*\*" in text and r"\[x\](http://a)" in text and r"\`code\`" in text
    assert "\x1b" not in text and "two lines" in text


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("", "none: the training started from random weights"),
        ("torchvision:resnet18.IMAGENET1K_V1", "BSD-3-Clause"),
        ("timm:resnet18.fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0"),
        ("mine/w.pth", r"not known to residet: look where mine/w.pth is from"),
    ],
)
def test_the_licence_of_the_start_is_said_where_it_is_known(tmp_path, weights, words):
    assert f"| licence of these weights | {words} |" in written(tmp_path, weights=weights)
    assert any(row.full_name == weights for row in published()) == (":" in weights)


def test_a_list_of_many_classes_is_cut(tmp_path):
    text = written(tmp_path, [f"class{i}" for i in range(150)])
    assert (
        "150 classes, of which the table has the first 100:" in text
        and "class99 |" in text
        and "class100 |" not in text
    )


def test_the_recipe_follows_from_the_config():
    cfg = default_config()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR = 100, 8, 0.05
    recipe = recipe_of(cfg, 400)
    assert recipe["schedule"].startswith("100 iterations of 8 images, 2 passes over 400 images; learning rate 0.05")
    assert recipe["start"] == "random weights" and recipe["precision"] == "float32"
