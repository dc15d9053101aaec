"""The table of the keys that pretraining and detection share: what each may hold, and whether --resume may change it.

Comments beside the defaults (residet/config.py) say what residet's own keys are for; the table says it of detectron2's.
"""

from __future__ import annotations

import re

from backbones.errors import InputError
from residet.engine.step import PRECISIONS
from residet.schema.kinds import Choice, Flag, Key, Maybe, Named, Real, Row, Several, Text, Whole

SHARE = Real(low=0, high=1)
POSITIVE = Real(above=0)
NOT_NEGATIVE = Real(low=0)


def _find_device(name: str) -> None:
    """Raises InputError if `name` is not the form of a device's name."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise InputError(f"{name!r} is none of cpu, cuda, cuda:N")


SHARED: dict[str, Key] = {
    "VERSION": Key(Choice((2,)), "Version of the names of detectron2's keys."),
    "OUTPUT_DIR": Key(Text(empty=False), "Folder of the run, which is made where it is missing.", resume=True),
    "SEED": Key(
        Whole(-1),
        "Seed of all random numbers; the same seed gives the same run. -1 draws one, which the log names.",
    ),
    "CUDNN_BENCHMARK": Key(Flag(), "Whether cuDNN tries its algorithms, and takes the fastest.", resume=True),
    "MODEL.DEVICE": Key(
        Named(_find_device, "cpu, cuda or cuda:N"), "Device of the model; the CPU where there is no GPU.", resume=True
    ),
    "MODEL.WEIGHTS": Key(
        Text(), "File of the weights that the run starts from; empty for random weights.", resume=True
    ),
    "MODEL.PIXEL_MEAN": Key(
        Several(Real(), 3, 3), "Mean of each channel, for pixels in 0 to 255, in the order of INPUT.FORMAT."
    ),
    "MODEL.PIXEL_STD": Key(Several(POSITIVE, 3, 3), "Standard deviation of each channel, as MODEL.PIXEL_MEAN."),
    "DATALOADER.NUM_WORKERS": Key(
        Whole(high=4096),
        "Number of processes that load images, for each process of the training; 0 loads in the training's own.",
        resume=True,
    ),
    "SOLVER.IMS_PER_BATCH": Key(Whole(1), "Number of images in an iteration, over all processes."),
    "SOLVER.ACCUMULATE": Key(Whole(1)),
    "SOLVER.MAX_ITER": Key(Whole(1), "Length of the training, in iterations.", resume=True),
    "SOLVER.STEPS": Key(
        Several(Whole(), rising=True),
        "Iterations at which the learning rate is multiplied by SOLVER.GAMMA. --resume may change those to come.",
        resume=True,
    ),
    "SOLVER.GAMMA": Key(Real(above=0, high=1), "Factor of the learning rate at each of SOLVER.STEPS."),
    "SOLVER.LR_SCHEDULER_NAME": Key(
        # WarmupStepWithFixedGammaLR, detectron2's third, fails in the last iteration with an index past the end.
        Choice(("WarmupMultiStepLR", "WarmupCosineLR")),
        "Course of the learning rate: in SOLVER.STEPS, or along half a cosine.",
    ),
    "SOLVER.BASE_LR": Key(POSITIVE, "Learning rate after the warm-up."),
    "SOLVER.BASE_LR_END": Key(NOT_NEGATIVE, "Learning rate at the end of WarmupCosineLR."),
    "SOLVER.SCALE_LR_FROM_BATCH": Key(Whole()),
    "SOLVER.BIAS_LR_FACTOR": Key(NOT_NEGATIVE, "Factor of the learning rate for biases."),
    "SOLVER.MOMENTUM": Key(Real(low=0, below=1), "Momentum of SGD."),
    "SOLVER.NESTEROV": Key(Flag(), "Whether SGD takes Nesterov's momentum."),
    "SOLVER.WEIGHT_DECAY": Key(NOT_NEGATIVE, "Weight decay of weights."),
    "SOLVER.WEIGHT_DECAY_NORM": Key(NOT_NEGATIVE, "Weight decay of the parameters of norms."),
    "SOLVER.WEIGHT_DECAY_BIAS": Key(Maybe(NOT_NEGATIVE), "Weight decay of biases; None for SOLVER.WEIGHT_DECAY."),
    "SOLVER.WARMUP_ITERS": Key(Whole(), "Length of the warm-up, in iterations."),
    "SOLVER.WARMUP_FACTOR": Key(SHARE, "Learning rate at the start of the warm-up, as a share of SOLVER.BASE_LR."),
    "SOLVER.WARMUP_METHOD": Key(Choice(("linear", "constant")), "Course of the learning rate in the warm-up."),
    "SOLVER.RESCALE_INTERVAL": Key(Flag(), "Whether the schedule begins after the warm-up, rather than with it."),
    "SOLVER.CHECKPOINT_PERIOD": Key(Whole(1), "Iterations between two checkpoints.", resume=True),
    "SOLVER.CHECKPOINTS_KEPT": Key(Whole(), resume=True),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Key(Flag(), "Whether gradients are clipped."),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Key(
        Choice(("value", "norm")),
        "What is clipped: each value of a gradient, or the norm of each parameter's gradient.",
    ),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Key(POSITIVE, "Largest absolute value, or largest norm."),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Key(POSITIVE, "p of the norm."),
    "SOLVER.AMP.ENABLED": Key(Flag(), "Whether the training computes in mixed precision."),
    "SOLVER.AMP.DTYPE": Key(Choice(tuple(PRECISIONS))),
    "SOLVER.EMA.DECAY": Key(Real(low=0, below=1)),
    "SOLVER.EMA.PERIOD": Key(Whole(1)),
    "TEST.EVAL_PERIOD": Key(Whole(), "Iterations between two evaluations; 0 evaluates at the end only.", resume=True),
    "TEST.EXPECTED_RESULTS": Key(
        Several(Row((Text(empty=False), Text(empty=False), Real(), NOT_NEGATIVE))),
        "Results that the run must reach, else it ends with an error: [task, metric, value, tolerance], …",
        resume=True,
    ),
    "TEST.PRECISE_BN.ENABLED": Key(
        Flag(), "Whether an evaluation replaces the running statistics of BN by those of the present weights."
    ),
    "TEST.PRECISE_BN.NUM_ITER": Key(Whole(1), "Number of batches over which these statistics are computed."),
    "TEST.BEST_METRIC": Key(Text()),
    "TEST.PATIENCE": Key(Whole(), resume=True),
}
