"""An RPN, then Fast R-CNN on its proposals: stages as one command, stopped and gone on with."""

import json

from backbones.errors import InputError
from backbones.files import read_checkpoint
from detection.config import default_config
from detection.proposals import read_proposals
from detection.stages import check_stages

import pytest
import torch
from run_tools import PROJECT, assert_clear_error, train_net

SMALL = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "SOLVER.MAX_ITER", 2, "DATALOADER.NUM_WORKERS", 0]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.PICTURES", 1, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
SMALL += ["MODEL.RESNETS.NORM", "BN", "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4, "SOLVER.BASE_LR", 0.001]
SMALL += ["DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN", 50, "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", 20]


def config(tmp_path, recipe):
    file = tmp_path / "config.yaml"
    bases = [PROJECT / "configs" / "faster_rcnn_resnet18.yaml", PROJECT / "configs" / "paper" / recipe]
    file.write_text(f"_BASE_: {[str(b) for b in bases]}\n")
    return file


def run(shapes, tmp_path, recipe, *extra, flags=()):
    args = ["--config-file", config(tmp_path, recipe), "--data", shapes, *flags, *SMALL, *extra]
    return train_net(*args, "OUTPUT_DIR", tmp_path / "run")


@pytest.mark.slow
def test_four_steps_end_in_one_detector(shapes, tmp_path):
    done = run(shapes, tmp_path, "resnet/coco.yaml")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    found = {s: read_checkpoint(out / s / "model_final.pth")["model"] for s in ("rpn", "fast_rcnn", "rpn_shared")}
    joined = read_checkpoint(out / "model_final.pth")["model"]
    assert not any(k.startswith("roi_heads.") for k in found["rpn"])
    assert not any(k.startswith("proposal_generator.") for k in found["fast_rcnn"])
    backbone = [k for k in joined if k.startswith("backbone.") and k.endswith("weight")]
    assert all(torch.equal(joined[k], found["fast_rcnn"][k]) for k in backbone)  # the later steps leave it
    rpn = "proposal_generator.rpn_head.conv.weight"
    assert torch.equal(joined[rpn], found["rpn_shared"][rpn]) and not torch.equal(joined[rpn], found["rpn"][rpn])
    boxes, scores = read_proposals(str(next((out / "rpn" / "proposals").glob("*train*.pth"))))
    assert len(boxes) == 16 and 20 < max(map(len, boxes.values())) <= 50 and boxes.keys() == scores.keys()
    results = json.loads((out / "rpn" / "results.json").read_text())
    assert "AR@100" in next(iter(results.values()))

    # The two together detect what Fast R-CNN does on the RPN's proposals.
    last = json.loads((out / "results.json").read_text())
    args = ["--eval-only", "--config-file", out / "config.yaml", "--weights", out / "model_final.pth"]
    done = train_net(*args, "OUTPUT_DIR", tmp_path / "eval")
    assert done.returncode == 0, done.stderr
    alone = json.loads((tmp_path / "eval" / "results.json").read_text())
    ((_, a),), ((_, b),) = last.items(), alone.items()
    assert a["bbox/AR100"] == pytest.approx(b["bbox/AR100"], abs=0.5) and "bbox/AP" in a


@pytest.mark.slow
def test_two_steps_go_on_where_they_were_stopped(shapes, tmp_path):
    done = run(shapes, tmp_path, "resnext/coco.yaml", flags=["--resume"])
    assert_clear_error(done, "--resume", "holds no stage to resume")
    done = run(shapes, tmp_path, "resnext/coco.yaml")
    assert done.returncode == 0, done.stderr
    assert "share no features" in done.stdout
    out = tmp_path / "run"
    rpn = (out / "rpn" / "model_final.pth").read_bytes()
    final = read_checkpoint(out / "fast_rcnn" / "model_final.pth")["model"]
    assert_clear_error(run(shapes, tmp_path, "resnext/coco.yaml"), "holds stages of another run", "--resume")

    # As if it had been killed in its second stage, after the first checkpoint.
    for path in (out / "results.json", out / "fast_rcnn" / "results.json"):
        path.unlink()
    done = run(shapes, tmp_path, "resnext/coco.yaml", "SOLVER.MAX_ITER", 3, flags=["--resume"])
    assert done.returncode == 0, done.stderr
    assert "resumed at iteration 2 of 3" in done.stdout
    assert (out / "rpn" / "model_final.pth").read_bytes() == rpn and (out / "results.json").is_file()
    again = read_checkpoint(out / "fast_rcnn" / "model_final.pth")["model"]
    assert any(not torch.equal(final[k], again[k]) for k in final)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a", "size": 3}], "must have a name and may have"),
        (["rpn"], "must have a name"),
        ([{"name": "a", "proposals": "b"}], "proposals 'b' is no stage before it"),
        ([{"name": "a", "options": ["SOLVER.MAXITER", 3]}], "did you mean SOLVER.MAX_ITER"),
        ([{"name": "a", "options": ["SOLVER.MAX_ITER"]}], "KEY VALUE pairs"),
    ],
)
def test_stages_that_cannot_be_run_are_named(stages, message):
    cfg = default_config()
    cfg.STAGES = stages
    with pytest.raises(InputError, match=message):
        check_stages(cfg)
