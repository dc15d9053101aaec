"""Dataset dict -> what detectron2's models take, with an albumentations pipeline in training."""

from __future__ import annotations

import copy
import difflib
import os
import warnings

from backbones.errors import InputError

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from PIL import Image, UnidentifiedImageError

# It looks for updates on the network otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

# DataLoader workers are the parallelism.
cv2.setNumThreads(0)


def build_pipeline(transforms: list[dict]) -> A.Compose | None:
    """albumentations transforms from [{NAME: {argument: value}}, …]; boxes are clipped, those left empty dropped.

    Raises:
        InputError: a name or an argument does not exist (the nearest name is suggested).
    """
    if not transforms:
        return None
    boxes = A.BboxParams(format="pascal_voc", label_fields=["index"], clip=True, filter_invalid_bboxes=True)
    return A.Compose([_build_transform(t) for t in transforms], bbox_params=boxes)


def _build_transform(transform: dict) -> A.BasicTransform | A.BaseCompose:
    key = "INPUT.ALBUMENTATIONS"
    if not isinstance(transform, dict) or len(transform) != 1:
        raise InputError(f"{key}: {transform!r} is not of the form {{NAME: {{argument: value}}}}")
    ((name, arguments),) = transform.items()
    arguments = dict(arguments or {})
    cls = getattr(A, name, None)
    if not (isinstance(cls, type) and issubclass(cls, A.BasicTransform | A.BaseCompose)):
        near = difflib.get_close_matches(name, dir(A), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{key}: albumentations has no transform {name!r}{hint}")
    if "transforms" in arguments:
        arguments["transforms"] = [_build_transform(t) for t in arguments["transforms"]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # so it reports an unknown argument
            return cls(**arguments)
    except (ValueError, TypeError, UserWarning) as e:
        raise InputError(f"{key}: {name}: {' '.join(str(e).split())}") from e


class DetectionMapper:
    """Reads an image, checks it against its annotation, augments both.

    Args:
        is_train: augment; else only resize.
        with_instances: give `instances`.
        pipeline: albumentations, before the others; None leaves it out.
        augmentations: detectron2's resize and flip.
        image_format: "RGB" or "BGR".
        proposal_topk: so many of an image's proposals are taken, where it has some.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        with_instances: bool,
        pipeline: A.Compose | None,
        augmentations: list,
        image_format: str,
        proposal_topk: int,
    ):
        self._is_train = is_train
        self._with_instances = with_instances
        self._pipeline = pipeline
        self._augmentations = T.AugmentationList(augmentations)
        self._format = image_format
        self._proposal_topk = proposal_topk

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool, with_instances: bool | None = None) -> dict:
        test = cfg.TEST  # these resize by themselves, best from the original pixels
        resizes_itself = not is_train and (test.AUG.ENABLED or test.TILES.SIZE or test.REGION_SCALES)
        return {
            "is_train": is_train,
            "with_instances": is_train if with_instances is None else with_instances,
            "pipeline": build_pipeline(cfg.INPUT.ALBUMENTATIONS) if is_train else None,
            "augmentations": [] if resizes_itself and not with_instances else _augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "proposal_topk": cfg.DATASETS[f"PRECOMPUTED_PROPOSAL_TOPK_{'TRAIN' if is_train else 'TEST'}"],
        }

    def __call__(self, record: dict) -> dict:
        """Adds `image`, (3, H, W) uint8, and in its pixels `proposals` where there are some and, if wanted,
        `instances`; `dropped_boxes` counts those that augmentation left without area.

        Raises:
            InputError: the image cannot be decoded, or its size is not the annotation's.
        """
        record = copy.deepcopy(record)
        image = read_image(record, self._format)
        annotations = record.pop("annotations", [])
        if self._with_instances:
            annotations = [a for a in annotations if not a.get("iscrowd")]
            given = len(annotations)
            if self._pipeline is not None:
                image, annotations = self._albumentations(image, annotations, record)
        resize = T.AugInput(image)
        transforms = self._augmentations(resize)
        record["image"] = torch.from_numpy(np.ascontiguousarray(resize.image.transpose(2, 0, 1)))
        size = resize.image.shape[:2]
        utils.transform_proposals(record, size, transforms, proposal_topk=self._proposal_topk)
        if self._with_instances:
            annotations = [utils.transform_instance_annotations(a, transforms, size) for a in annotations]
            record["instances"] = utils.filter_empty_instances(utils.annotations_to_instances(annotations, size))
            record["dropped_boxes"] = given - len(record["instances"])
        return record

    def _albumentations(
        self, image: np.ndarray, annotations: list[dict], record: dict
    ) -> tuple[np.ndarray, list[dict]]:
        """The image and its annotations; the record's proposals move along."""
        # Its generator is its own, and the same in every worker.
        self._pipeline.set_random_seed(np.random.randint(2**31))
        proposals = record.get("proposal_boxes", np.zeros((0, 4), np.float32))
        boxes = np.array([a["bbox"] for a in annotations], dtype=np.float32).reshape(-1, 4)
        both = np.concatenate([boxes, proposals])
        out = self._pipeline(image=image, bboxes=both, index=np.arange(len(both)))
        index = np.asarray(out["index"], dtype=np.int64)
        moved = np.asarray(out["bboxes"], dtype=np.float32).reshape(-1, 4)
        if len(proposals):
            ours = index >= len(boxes)
            record["proposal_boxes"] = moved[ours]
            record["proposal_objectness_logits"] = record["proposal_objectness_logits"][index[ours] - len(boxes)]
        kept = [
            {**annotations[i], "bbox": [float(v) for v in box]}
            for i, box in zip(index, moved, strict=True)
            if i < len(boxes)
        ]
        return out["image"], kept


def _augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """detectron2's crop (in training, where INPUT.CROP asks for it), resize and flip."""
    crop = cfg.INPUT.CROP
    crops = [T.RandomCrop(crop.TYPE, crop.SIZE)] if is_train and crop.ENABLED else []
    return [*crops, *utils.build_augmentation(cfg, is_train)]


def read_image(record: dict, image_format: str) -> np.ndarray:
    """(H, W, 3) uint8.

    Raises:
        InputError: the image cannot be decoded, or its size is not the annotation's.
    """
    path = record["file_name"]
    try:
        image = utils.read_image(path, image_format)
        utils.check_image_size(record, image)
    except utils.SizeMismatchError as e:
        raise InputError(
            f"{path}: the image is {image.shape[1]}x{image.shape[0]}, its annotation says "
            f"{record['width']}x{record['height']}; correct one of them"
        ) from e
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise InputError(f"{path}: cannot be decoded as an image ({e}); remove or replace it") from e
    return image
