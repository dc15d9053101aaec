"""The table of detection's keys: what each may hold, and whether --resume may change it.

Comments beside the defaults (detection/config.py) say what residet's own keys are for. The keys of MODEL are in
detection/schema/model.py.
"""

from __future__ import annotations

import re

from detection.data.layouts.sources import READERS
from detection.data.loader import SAMPLERS
from detection.data.mapper import build_pipeline
from detection.evaluation.coco import APIS
from detection.schema.model import MODEL
from residet.schema.kinds import Choice, Flag, Key, Kind, Real, Several, Text, Whole
from residet.schema.shared import SHARE, SHARED

_PIXELS = Whole(1, 2**16)
_FILES = Several(Text(empty=False))
# Name in TEST.EVALUATORS -> the group of its results: "bbox" is the group of "bbox/AP".
EVALUATORS = {"coco": "bbox", "voc": "voc", "imagenet_det": "det", "errors": "errors"}
CROPS = ("relative_range", "relative", "absolute", "absolute_range")


class Transforms(Kind):
    """A list of albumentations' transforms, each {NAME: {argument: value}}."""

    allowed = "a list of albumentations' transforms, each {NAME: {argument: value}}"

    def accepts(self, value: object) -> bool:
        return isinstance(value, list | tuple)

    def check(self, name: str, value: object) -> None:
        super().check(name, value)
        build_pipeline(value)


class Phases(Kind):
    """A list of phases, each with a name, which names its folder too. detection/phases.py checks their other keys."""

    allowed = "a list of phases, each {name: …} with a name of letters, digits, -, _ and . (docs/detection.md)"

    def accepts(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or not all(isinstance(phase, dict) for phase in value):
            return False
        names = [phase.get("name") for phase in value]
        return all(isinstance(n, str) and re.fullmatch(r"\w[\w.-]{0,99}", n) for n in names) and len(set(names)) == len(
            names
        )


_INPUT = {
    "INPUT.FORMAT": Key(Choice(("RGB", "BGR")), "Order of the channels; the weights' order where the file says it."),
    "INPUT.MIN_SIZE_TRAIN": Key(
        Several(_PIXELS, 1), "Short sides to which training images are resized, in pixels: one of these at random."
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Key(
        Choice(("choice", "range")), "Whether a short side is one of MIN_SIZE_TRAIN, or lies between its two values."
    ),
    "INPUT.MAX_SIZE_TRAIN": Key(_PIXELS, "Largest long side of a training image, in pixels."),
    "INPUT.MIN_SIZE_TEST": Key(Whole(0, 2**16), "Short side of a test image, in pixels; 0 leaves images as they are."),
    "INPUT.MAX_SIZE_TEST": Key(_PIXELS, "Largest long side of a test image, in pixels."),
    "INPUT.RANDOM_FLIP": Key(
        Choice(("none", "horizontal", "vertical")), "How half of the training images are flipped."
    ),
    "INPUT.CROP.ENABLED": Key(Flag(), "Whether training images are cropped at random, before they are resized."),
    "INPUT.CROP.TYPE": Key(
        Choice(CROPS), "How INPUT.CROP.SIZE is meant: in shares of height and width, or in pixels; fixed, or a range."
    ),
    "INPUT.CROP.SIZE": Key(Several(Real(above=0), 2, 2), "Size of the crop, in the unit of INPUT.CROP.TYPE."),
    "INPUT.ALBUMENTATIONS": Key(Transforms()),
}

_DATA = {
    "DATASETS.TRAIN": Key(_FILES, "Training data: registered names, or DIR:SPLIT or FILE.json of data.", resume=True),
    "DATASETS.TEST": Key(_FILES, "Test data, as DATASETS.TRAIN.", resume=True),
    "DATASETS.PROPOSAL_FILES_TRAIN": Key(_FILES, "Files of proposals, one for each of DATASETS.TRAIN.", resume=True),
    "DATASETS.PROPOSAL_FILES_TEST": Key(_FILES, "Files of proposals, one for each of DATASETS.TEST.", resume=True),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": Key(Whole(1), "Number of proposals of a training image, best first."),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": Key(Whole(1), "Number of proposals of a test image, best first."),
    "DATASETS.CLASSES": Key(Several(Text(empty=False))),
    "DATASETS.VOC_FIRST_PIXEL": Key(Whole(0, 1)),
    "DATASETS.FORMAT": Key(Choice(("", *(reader.name for reader in READERS))), resume=True),
    "DATASETS.SKIP_MISSING": Key(Flag(), resume=True),
    # A run that resumes keeps the lists of its split, whatever these keys say.
    "DATASETS.VAL_SHARE": Key(Real(above=0, below=1), resume=True),
    "DATASETS.VAL_SEED": Key(Whole(), resume=True),
    "DATASETS.TRAIN_ON_DIFFICULT": Key(Flag()),
    "DATASETS.SCHEDULE_IMAGES": Key(Whole()),
    "DATALOADER.ASPECT_RATIO_GROUPING": Key(Flag(), "Whether a batch has only wide or only tall images, to pad less."),
    "DATALOADER.SAMPLER_TRAIN": Key(
        Choice(SAMPLERS), "Order of the training images: all as often, or rare classes more often."
    ),
    "DATALOADER.REPEAT_THRESHOLD": Key(
        SHARE, "RepeatFactorTrainingSampler: share of the images below which a class is repeated."
    ),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": Key(Flag(), "Whether training leaves out images without an object."),
}

_TEST = {
    "TEST.DETECTIONS_PER_IMAGE": Key(Whole(1), "Largest number of detections in an image, best first."),
    "TEST.AUG.ENABLED": Key(Flag(), "Whether a test joins the detections in resized and flipped copies of the image."),
    "TEST.AUG.MIN_SIZES": Key(Several(_PIXELS, 1), "Short sides of the copies, in pixels."),
    "TEST.AUG.MAX_SIZE": Key(_PIXELS, "Largest long side of a copy, in pixels."),
    "TEST.AUG.FLIP": Key(Flag(), "Whether each copy is flipped too."),
    "TEST.BOX_REFINEMENTS": Key(Whole(0, 100)),
    "TEST.BOX_VOTING_IOU": Key(SHARE),
    "TEST.REGION_SCALES": Key(Several(_PIXELS)),
    "TEST.TILES.SIZE": Key(Whole(0, 2**16)),
    "TEST.TILES.OVERLAP": Key(Real(low=0, below=1)),
    "TEST.LOSS": Key(Flag()),
    "TEST.COCO_API": Key(Choice(APIS)),
    "TEST.EVALUATORS": Key(Several(Choice(tuple(EVALUATORS)), 1)),
    "TEST.PICTURES": Key(Whole(), resume=True),
}

_RUN = {
    "MODEL.CHANNELS_LAST": Key(Flag(), resume=True),
    "SOLVER.BACKBONE_LR_FACTOR": Key(Real(above=0)),
    "PHASES": Key(Phases()),
    "VIS_PERIOD": Key(
        Whole(), "Iterations between two pictures of proposals for TensorBoard; 0 for none.", resume=True
    ),
}

TABLE: dict[str, Key] = SHARED | MODEL | _INPUT | _DATA | _TEST | _RUN
