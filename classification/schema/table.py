"""The table of pretraining's keys: what each may hold, and whether --resume may change it."""

from __future__ import annotations

from backbones.catalogue import get_spec
from classification.data.datasets import DATASETS
from classification.data.normalise import KINDS
from classification.data.transforms import COLOURS, CROPS, INTERPOLATIONS, VIEWS
from classification.schedule import PLATEAU
from classification.trainer import NORMS
from residet.schema.kinds import Choice, Flag, Key, Named, Real, Several, Text, Whole
from residet.schema.shared import NOT_NEGATIVE, SHARE, SHARED

_PIXELS = Whole(1, 2**14)

TABLE: dict[str, Key] = SHARED | {
    "INPUT.FORMAT": Key(Choice(("RGB",)), "Order of the channels; pretraining reads RGB."),
    "TEST.PRECISE_BN.NUM_ITER": Key(Whole()),
    "SOLVER.LR_SCHEDULER_NAME": Key(
        Choice((*SHARED["SOLVER.LR_SCHEDULER_NAME"].kind.values, PLATEAU)),
        f"Course of the learning rate: in steps, along half a cosine, or by the error of the evaluations ({PLATEAU}).",
    ),
    "CLASSIFICATION.ARCH": Key(Named(get_spec, "the name of a network in the catalogue")),
    "CLASSIFICATION.RESIDUAL_SCALE": Key(Real(low=0, high=1)),
    "CLASSIFICATION.NORM": Key(Choice(tuple(NORMS))),
    "CLASSIFICATION.CHECKPOINT_ACTIVATIONS": Key(Flag(), resume=True),
    "CLASSIFICATION.CHANNELS_LAST": Key(Flag(), resume=True),
    "CLASSIFICATION.COMPILE": Key(Flag(), resume=True),
    "CLASSIFICATION.DATASET": Key(Choice(lambda: [name for name, _ in DATASETS])),
    "CLASSIFICATION.DATA": Key(Text(), resume=True),
    "CLASSIFICATION.DOWNLOAD": Key(Flag(), resume=True),
    "CLASSIFICATION.CLASS_LIST": Key(Text(), resume=True),
    "CLASSIFICATION.CLASSES": Key(Several(Text())),
    "CLASSIFICATION.MAX_BAD_IMAGES": Key(Whole(), resume=True),
    "CLASSIFICATION.SHARDS.TRAIN": Key(Text(), resume=True),
    "CLASSIFICATION.SHARDS.VAL": Key(Text(), resume=True),
    "CLASSIFICATION.SHARDS.TRAIN_IMAGES": Key(Whole(), resume=True),
    "CLASSIFICATION.SHARDS.VAL_IMAGES": Key(Whole(), resume=True),
    "CLASSIFICATION.EPOCHS": Key(Whole(high=10**6), resume=True),
    "CLASSIFICATION.STEP_EPOCHS": Key(Several(NOT_NEGATIVE, rising=True), resume=True),
    "CLASSIFICATION.WARMUP_EPOCHS": Key(Real(low=0, high=10**6), resume=True),
    "CLASSIFICATION.EVAL_EPOCHS": Key(Whole(high=10**6), resume=True),
    "CLASSIFICATION.SCHEDULE_SCALE": Key(Real(above=0, high=1000), resume=True),
    "CLASSIFICATION.WARMUP_UNTIL_ERROR": Key(Real(low=0, high=100)),
    "CLASSIFICATION.PLATEAU_PATIENCE": Key(Whole(1)),
    "CLASSIFICATION.SIZE": Key(_PIXELS),
    "CLASSIFICATION.INTERPOLATION": Key(Choice(tuple(INTERPOLATIONS))),
    "CLASSIFICATION.CROP": Key(Choice(CROPS)),
    "CLASSIFICATION.CROP_AREA": Key(Several(Real(above=0, high=1), 2, 2, rising=True)),
    "CLASSIFICATION.SHORT_SIDE": Key(Several(_PIXELS, 2, 2, rising=True)),
    "CLASSIFICATION.PAD": Key(Whole(0, 2**14)),
    "CLASSIFICATION.FLIP": Key(Flag()),
    "CLASSIFICATION.COLOUR": Key(Choice(COLOURS)),
    "CLASSIFICATION.TRIVIAL_AUGMENT": Key(Flag()),
    "CLASSIFICATION.RANDOM_ERASING": Key(SHARE),
    "CLASSIFICATION.MIXUP": Key(NOT_NEGATIVE),
    "CLASSIFICATION.CUTMIX": Key(NOT_NEGATIVE),
    "CLASSIFICATION.LABEL_SMOOTHING": Key(SHARE),
    "CLASSIFICATION.NORMALISE": Key(Choice(KINDS)),
    "CLASSIFICATION.RESIZE": Key(_PIXELS),
    "CLASSIFICATION.TEST.VIEWS": Key(Choice(VIEWS)),
    "CLASSIFICATION.TEST.SIZE": Key(Whole(0, 2**14)),
    "CLASSIFICATION.TEST.SCALES": Key(Several(_PIXELS, 1)),
}
