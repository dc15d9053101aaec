"""The warning that a training diverges."""

import contextlib
from types import SimpleNamespace

from classification.config import default_config
from classification.prepare import prepare
from classification.trainer import ClassificationTrainer
from residet.engine.divergence import DivergenceWarning

import pytest


def watch(losses, storage, hook=None):
    hook = hook or DivergenceWarning()
    for iteration, loss in enumerate(losses):
        hook.trainer = SimpleNamespace(storage=storage, iter=iteration)
        storage.put_scalars(total_loss=loss, lr=0.1)
        hook.after_step()
        storage.step()
    return hook


@pytest.mark.parametrize(
    ("losses", "warns"),
    [
        ([2.3] * 5 + [6.0] * 30, True),
        ([2.3] * 5 + [1.0] * 30 + [6.0] * 11, True),
        ([2.3, 50.0, 62.0, 70.0, 47.0] + [6.0] * 30, False),  # under 4 times the first loss again: a bad start
        ([2.3, 50.0, 62.0, 70.0, 47.0] + [40.0] * 30, True),  # the first iterations explode
        ([2.3] * 5 + [3.9] * 30, False),
        ([2.3] * 5 + [1.0] * 20 + [50.0] * 9, False),  # single bad batches
        ([2.3] * 3 + [60.0], False),
    ],
)
def test_it_warns_once_if_the_loss_doubles(losses, warns, storage, caplog):
    hook = watch(losses, storage)
    assert hook.warned == warns
    assert [r.levelname for r in caplog.records] == ["WARNING"] * warns
    if warns:
        assert (
            "from 2.3 at the start to" in caplog.text
            and "learning rate 0.1" in caplog.text
            and "SOLVER.BASE_LR" in caplog.text
        )


def test_a_resumed_run_knows_the_loss_at_its_start(storage, caplog):
    state = watch([2.0] * 10, storage).state_dict()
    resumed = DivergenceWarning()
    resumed.load_state_dict(state)
    watch([5.0] * 20, storage, resumed)
    assert "from 2 at the start to 5" in caplog.text
    again = DivergenceWarning()
    again.load_state_dict(resumed.state_dict())
    watch([9.0] * 40, storage, again)
    assert caplog.text.count("may diverge") == 1


def test_a_run_with_too_high_a_learning_rate_says_so(shapes, tmp_path, caplog):
    cfg = default_config()
    options = ["ARCH", "cifar_wrn10_1", "SIZE", 16, "RESIZE", 16, "EPOCHS", 0, "EVAL_EPOCHS", 0]
    options += ["DATA", str(shapes / "crops")]
    for key, value in zip(options[::2], options[1::2], strict=True):
        cfg.CLASSIFICATION[key] = value
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 8, "SOLVER.BASE_LR", 30.0, "SOLVER.MAX_ITER", 40])
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)])
    with contextlib.suppress(FloatingPointError):  # the weights may overflow in the end
        ClassificationTrainer(prepare(cfg, eval_only=False)).train()
    assert caplog.text.count("training may diverge") == 1
