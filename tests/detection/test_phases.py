"""An RPN, then Fast R-CNN on its proposals: stages as one command, stopped and gone on with."""

import json
import shutil

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint
from detection.build import build_detector
from detection.config import default_config
from detection.data.proposals import read_proposals
from detection.phases import check_phases, phase_config
from residet.config import resolve_engine

import pytest
import torch
from detection_configs import load_config
from run_tools import PROJECT, assert_clear_error, run_tool, train_net

SMALL = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64, "SOLVER.MAX_ITER", 2, "DATALOADER.NUM_WORKERS", 0]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.PICTURES", 1, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
SMALL += ["MODEL.RESNETS.NORM", "BN", "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4, "SOLVER.BASE_LR", 0.001]
SMALL += ["DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN", 50, "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", 20]


def config(tmp_path, recipe):
    file = tmp_path / "config.yaml"
    bases = [PROJECT / "configs" / "faster_rcnn_resnet18.yaml", PROJECT / "configs" / "paper" / recipe]
    file.write_text(f"_BASE_: {[str(b) for b in bases]}\nMODEL: {{BACKBONE: {{FREEZE_AT: 0}}}}\n")
    return file


def run(shapes, tmp_path, recipe, *extra, flags=()):
    args = ["--config-file", config(tmp_path, recipe), "--data", shapes, *flags, *SMALL, *extra]
    return train_net(*args, "OUTPUT_DIR", tmp_path / "run")


@pytest.mark.slow
def test_four_steps_end_in_one_detector(shapes, tmp_path):
    done = run(shapes, tmp_path, "resnet/coco.yaml", "MODEL.ANCHOR_GENERATOR.SIZES", "[[8,16,32,64]]")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    found = {s: read_checkpoint(out / s / "model_final.pth")["model"] for s in ("rpn", "fast_rcnn", "rpn_shared")}
    joined = read_checkpoint(out / "model_final.pth")["model"]
    assert not any(k.startswith("roi_heads.") for k in found["rpn"])
    assert not any(k.startswith("proposal_generator.") for k in found["fast_rcnn"])
    backbone = [k for k in joined if k.startswith("backbone.") and k.endswith("weight")]
    assert all(torch.equal(joined[k], found["fast_rcnn"][k]) for k in backbone)  # the later steps leave it
    alone = build_detector(out / "model_final.pth")  # the file says how the joined detector is built
    assert not alone.cfg.MODEL.LOAD_PROPOSALS and alone.proposal_generator is not None
    rpn = "proposal_generator.rpn_head.conv.weight"
    assert torch.equal(joined[rpn], found["rpn_shared"][rpn]) and not torch.equal(joined[rpn], found["rpn"][rpn])
    boxes, scores = read_proposals(str(next((out / "rpn" / "proposals").glob("*train*.pth"))))
    assert len(boxes) == 16 and 20 < max(map(len, boxes.values())) <= 50 and boxes.keys() == scores.keys()
    card = (out / "model_card.md").read_text()
    assert "| phases | rpn, fast\\_rcnn, rpn\\_shared, " in card and "| files | `model_final.pth` |" in card

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

    # "Baseline+++": the recipe for VOC, with three sizes of anchors, trains on the detector of COCO, with four.
    args = ["--config-file", config(tmp_path, "resnet/voc07.yaml"), "--weights", out / "model_final.pth", *SMALL]
    done = train_net("--data", shapes, *args, "SOLVER.MAX_ITER", 1, "OUTPUT_DIR", tmp_path / "plus")
    assert done.returncode == 0, done.stderr
    plus = build_detector(tmp_path / "plus" / "model_final.pth")
    assert plus.cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[8, 16, 32, 64]]


@pytest.mark.slow
def test_two_steps_go_on_where_they_were_stopped(shapes, tmp_path):
    done = run(shapes, tmp_path, "resnext/coco.yaml", flags=["--resume"])
    assert_clear_error(done, "--resume", "holds no phase to resume")
    done = run(shapes, tmp_path, "resnext/coco.yaml")
    assert done.returncode == 0, done.stderr
    assert "share no features" in done.stdout
    out = tmp_path / "run"
    rpn = (out / "rpn" / "model_final.pth").read_bytes()
    final = read_checkpoint(out / "fast_rcnn" / "model_final.pth")["model"]
    assert_clear_error(run(shapes, tmp_path, "resnext/coco.yaml"), "of another run", "--resume")

    # As if it had been killed in its second stage, after the first checkpoint.
    for path in (out / "results.json", out / "fast_rcnn" / "results.json"):
        path.unlink()
    done = run(shapes, tmp_path, "resnext/coco.yaml", "SOLVER.MAX_ITER", 3, flags=["--resume"])
    assert done.returncode == 0, done.stderr
    assert "resumed at iteration 2 of 3" in done.stdout
    assert (out / "rpn" / "model_final.pth").read_bytes() == rpn and (out / "results.json").is_file()
    again = read_checkpoint(out / "fast_rcnn" / "model_final.pth")["model"]
    assert any(not torch.equal(final[k], again[k]) for k in final)


@pytest.mark.slow
def test_stages_that_were_stopped_end_with_the_very_weights(shapes, tmp_path):
    """A kill between two stages: the second draws the random numbers that it would have drawn."""
    done = run(shapes, tmp_path, "resnext/coco.yaml")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run" / "fast_rcnn"
    expected = read_checkpoint(out / "model_final.pth")["model"]
    shutil.rmtree(out)
    (tmp_path / "run" / "results.json").unlink()
    done = run(shapes, tmp_path, "resnext/coco.yaml", flags=["--resume"])
    assert done.returncode == 0, done.stderr
    found = read_checkpoint(out / "model_final.pth")["model"]
    assert all(torch.equal(found[k], expected[k]) for k in expected)

    # The two are a detector of other images by their proposals.
    rpn, fast = tmp_path / "run" / "rpn", tmp_path / "run" / "fast_rcnn"
    val, file = shapes / "annotations" / "val.json", tmp_path / "proposals.pth"
    command = [rpn / "config.yaml", file, "--weights", rpn / "model_final.pth", "--data", val]
    done = run_tool("propose.py", *command)
    assert done.returncode == 0 and "proposals for 6 images" in done.stdout, done.stderr
    assert_clear_error(run_tool("propose.py", *command), "exists; name another file")
    written, by_stage = (read_proposals(str(f))[0] for f in (file, next((rpn / "proposals").glob("*val*.pth"))))
    assert all(written[i] == pytest.approx(by_stage[i]) for i in by_stage)
    args = ["--config-file", fast / "config.yaml", "--eval-only", "--weights", fast / "model_final.pth"]
    done = train_net(*args, "--val", val, "DATASETS.PROPOSAL_FILES_TEST", f"('{file}',)", "OUTPUT_DIR", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    first, again = (next((p / "inference").rglob("coco_instances_results.json")) for p in (fast, tmp_path / "e"))
    assert json.loads(again.read_text()) == json.loads(first.read_text()) != []
    done = run_tool(
        "propose.py", fast / "config.yaml", tmp_path / "x.pth", "--weights", fast / "model_final.pth", "--data", val
    )
    assert_clear_error(done, "has no proposal_generator")


def test_a_stage_scales_its_own_rate_and_has_a_metric_of_its_own():
    cfg = load_config("faster_rcnn_resnet18.yaml")
    options = ["MODEL.META_ARCHITECTURE", "ProposalNetwork", "SOLVER.SCALE_LR_FROM_BATCH", 8, "SOLVER.BASE_LR", 0.01]
    cfg.PHASES = [{"name": "rpn", "options": options}]
    cfg.TEST.BEST_METRIC, cfg.TEST.PATIENCE, cfg.TEST.EVAL_PERIOD = "bbox/AP", 3, 10
    of_stage = phase_config(cfg, cfg.PHASES[0])
    assert of_stage.TEST.BEST_METRIC == "" and of_stage.TEST.PATIENCE == 0
    for metric in ("validation/total_loss", "box_proposals/AR@100"):
        cfg.TEST.BEST_METRIC = metric
        assert metric == phase_config(cfg, cfg.PHASES[0]).TEST.BEST_METRIC
    cfg.PHASES[0]["options"] += ["TEST.BEST_METRIC", "bbox/AP"]
    with pytest.raises(InputError, match=r"PHASES: rpn: TEST.BEST_METRIC: bbox/AP is none of box_proposals/…"):
        check_phases(cfg)
    cfg.PHASES[0]["options"][-2:] = []
    (line,) = resolve_engine(of_stage)
    assert of_stage.SOLVER.BASE_LR == 0.02 and "0.01 scaled to 0.02" in line


def test_what_the_user_sets_goes_before_the_stages_options():
    cfg = load_config("faster_rcnn_resnet18.yaml")
    cfg.PHASES = [{"name": "a", "options": ["SOLVER.ACCUMULATE", 3]}]
    with pytest.raises(InputError, match="is no multiple of"):
        check_phases(cfg)
    check_phases(cfg, ["SOLVER.ACCUMULATE"])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a", "size": 3}], "must have a name and may have"),
        (["rpn"], "must have a name"),
        ([{"name": "a", "proposals": "b"}], "proposals 'b' is no phase before it"),
        ([{"name": "a", "options": ["SOLVER.MAXITER", 3]}], "did you mean SOLVER.MAX_ITER"),
        ([{"name": "a", "options": ["SOLVER.MAX_ITER"]}], "KEY VALUE pairs"),
    ],
)
def test_stages_that_cannot_be_run_are_named(stages, message):
    cfg = default_config()
    cfg.PHASES = stages
    with pytest.raises(InputError, match=message):
        check_phases(cfg)


def test_a_phase_may_take_a_part_of_the_schedule():
    cfg = load_config("paper/resnet/faster_rcnn_vgg16_voc07.yaml")
    fast = cfg.PHASES[1]
    assert phase_config(cfg, fast).SOLVER.MAX_ITER == 40000 and phase_config(cfg, fast).SOLVER.STEPS == (30000,)
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 800, (600,)  # as for data of another size
    assert phase_config(cfg, fast).SOLVER.MAX_ITER == 400 and phase_config(cfg, fast).SOLVER.STEPS == (300,)
    assert phase_config(cfg, fast, ["SOLVER.MAX_ITER"]).SOLVER.MAX_ITER == 800  # the user's stays
    cfg.PHASES[1]["schedule"] = 0
    with pytest.raises(InputError, match="fast_rcnn: schedule 0 is no number above 0"):
        check_phases(cfg)
