"""Turns a dataset dict into the input of a detectron2 model, in training with an albumentations pipeline."""

from __future__ import annotations

import copy
import os
import warnings

from backbones.errors import InputError, did_you_mean, shown
from detection.data.pixels import read_image
from detection.data.resizing import ResizeShortestEdge, channels_first

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

# Without this variable albumentations looks for updates on the network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

# The workers of the DataLoader already run in parallel, so OpenCV gets no threads of its own.
cv2.setNumThreads(0)


def build_pipeline(transforms: list[dict]) -> A.Compose | None:
    """Builds the albumentations pipeline that INPUT.ALBUMENTATIONS describes.

    The pipeline clips boxes to the image, and drops boxes that have no area after clipping.

    Args:
        transforms: [{NAME: {argument: value}}, …], where NAME is a class of albumentations.

    Returns:
        the pipeline; None if `transforms` is empty.

    Raises:
        InputError: albumentations has no transform of that name, or the transform has no such argument. For a wrong
            transform name the message suggests the nearest name.
    """
    if not transforms:
        return None
    boxes = A.BboxParams(format="pascal_voc", label_fields=["index"], clip=True, filter_invalid_bboxes=True)
    return A.Compose([_build_transform(t) for t in transforms], bbox_params=boxes)


def _build_transform(transform: dict) -> A.BasicTransform | A.BaseCompose:
    key = "INPUT.ALBUMENTATIONS"
    if not isinstance(transform, dict) or len(transform) != 1:
        raise InputError(f"{key}: {shown(transform)} is not of the form {{NAME: {{argument: value}}}}")
    ((name, arguments),) = transform.items()
    arguments = {} if arguments is None else arguments
    inner = arguments.get("transforms", []) if isinstance(arguments, dict) else None
    if not isinstance(name, str) or not isinstance(inner, list):
        raise InputError(f"{key}: {shown(transform)} is not of the form {{NAME: {{argument: value}}}}")
    arguments = dict(arguments)
    cls = getattr(A, name, None)
    if not (isinstance(cls, type) and issubclass(cls, A.BasicTransform | A.BaseCompose)):
        raise InputError(f"{key}: albumentations has no transform {shown(name)}{did_you_mean(name, dir(A))}")
    if "transforms" in arguments:
        arguments["transforms"] = [_build_transform(t) for t in arguments["transforms"]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns of an unknown argument
            return cls(**arguments)
    except (ValueError, TypeError, UserWarning) as e:
        raise InputError(f"{key}: {name}: {' '.join(str(e).split())}") from e


class DetectionMapper:
    """Maps a dataset dict to a model input: reads the image, checks its size, augments image and boxes together.

    Args:
        with_instances: whether to add the annotated objects as `instances`. `pipeline` runs only if this is set.
        pipeline: albumentations transforms, applied before `augmentations`; None applies none.
        augmentations: detectron2's transforms, such as resize and flip.
        image_format: order of the image's channels, "RGB" or "BGR".
        proposal_topk: number of proposals to keep of an image, best first, if the dataset dict has proposals.
    """

    @configurable
    def __init__(
        self,
        *,
        with_instances: bool,
        pipeline: A.Compose | None,
        augmentations: list,
        image_format: str,
        proposal_topk: int,
    ):
        self._with_instances = with_instances
        self._pipeline = pipeline
        self._augmentations = T.AugmentationList(augmentations)
        self._format = image_format
        self._proposal_topk = proposal_topk

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool, with_instances: bool | None = None) -> dict:
        """The arguments of the constructor. Without `with_instances`, training has instances and a test has none."""
        test = cfg.TEST
        # These ways of testing resize images themselves, best from the original pixels.
        resizes_itself = not is_train and (test.AUG.ENABLED or test.TILES.SIZE or test.REGION_SCALES)
        return {
            "with_instances": is_train if with_instances is None else with_instances,
            "pipeline": build_pipeline(cfg.INPUT.ALBUMENTATIONS) if is_train else None,
            "augmentations": [] if resizes_itself and not with_instances else _augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "proposal_topk": cfg.DATASETS[f"PRECOMPUTED_PROPOSAL_TOPK_{'TRAIN' if is_train else 'TEST'}"],
        }

    def __call__(self, record: dict) -> dict:
        """Makes the model input of one image.

        Args:
            record: a dataset dict. The caller's dict stays as it is.

        Returns:
            a copy of `record` without `annotations`, with `image`, (3, H, W) uint8. If `record` has proposals, the
            copy has `proposals`, in pixels of `image`. With `with_instances` the copy has `instances`, in pixels of
            `image`, and `dropped_boxes`, the number of boxes that augmentation left without area. Crowds are neither
            in `instances` nor counted.

        Raises:
            InputError: the image cannot be decoded, or the annotation states another size.
        """
        record = copy.deepcopy(record)
        image = read_image(record, self._format)
        record |= {"width": image.shape[1], "height": image.shape[0]}
        annotations = record.pop("annotations", [])
        if self._with_instances:
            annotations = [a for a in annotations if not a.get("iscrowd")]
            object_count = len(annotations)
            if self._pipeline is not None:
                image, annotations = self._albumentations(image, annotations, record)
        record["image"], transforms = self._resized(image)
        size = tuple(record["image"].shape[1:])
        utils.transform_proposals(record, size, transforms, proposal_topk=self._proposal_topk)
        if self._with_instances:
            annotations = [utils.transform_instance_annotations(a, transforms, size) for a in annotations]
            record["instances"] = utils.filter_empty_instances(utils.annotations_to_instances(annotations, size))
            record["dropped_boxes"] = object_count - len(record["instances"])
        return record

    def of_image(self, image: np.ndarray) -> dict:
        """Makes the model input of an image that no dataset dict describes.

        Args:
            image: (H, W, 3) uint8, upright, with the channels in the order of `image_format`.

        Returns:
            {"image": (3, H', W') uint8, "height": H, "width": W}.
        """
        height, width = image.shape[:2]
        return {"image": self._resized(image)[0], "height": height, "width": width}

    def _resized(self, image: np.ndarray) -> tuple[torch.Tensor, T.TransformList]:
        """An image (H, W, 3) after `augmentations`, (3, H', W'), and what these did."""
        resized = T.AugInput(image)
        transforms = self._augmentations(resized)
        return channels_first(resized.image), transforms

    def _albumentations(
        self, image: np.ndarray, annotations: list[dict], record: dict
    ) -> tuple[np.ndarray, list[dict]]:
        """Applies the albumentations pipeline to an image, its annotations and its proposals.

        Args:
            image: (H, W, 3) uint8.
            annotations: the annotations of the image; their `bbox` is x0, y0, x1, y1 in pixels.
            record: the dataset dict. Its proposals are replaced by the transformed ones.

        Returns:
            the transformed image, and the annotations whose boxes are still in the image.
        """
        # The pipeline's own random generator has the same state in every worker, so numpy's generator seeds it here.
        self._pipeline.set_random_seed(np.random.randint(2**31))
        proposals = record.get("proposal_boxes", np.zeros((0, 4), np.float32))
        boxes = np.array([a["bbox"] for a in annotations], dtype=np.float32).reshape(-1, 4)
        all_boxes = np.concatenate([boxes, proposals])
        out = _applied(self._pipeline, image, all_boxes, record)
        index = np.asarray(out["index"], dtype=np.int64)
        moved_boxes = np.asarray(out["bboxes"], dtype=np.float32).reshape(-1, 4)
        if len(proposals):
            is_proposal = index >= len(boxes)
            record["proposal_boxes"] = moved_boxes[is_proposal]
            kept_proposals = index[is_proposal] - len(boxes)
            record["proposal_objectness_logits"] = record["proposal_objectness_logits"][kept_proposals]
        kept_annotations = [
            {**annotations[i], "bbox": [float(v) for v in box]}
            for i, box in zip(index, moved_boxes, strict=True)
            if i < len(boxes)
        ]
        return out["image"], kept_annotations


def _applied(pipeline: A.Compose, image: np.ndarray, boxes: np.ndarray, record: dict) -> dict:
    """What the pipeline makes of an image and its boxes.

    Raises:
        InputError: the pipeline fails, or makes something other than an image of three bytes a pixel.
    """
    key = f"INPUT.ALBUMENTATIONS: on {shown(record.get('file_name', 'an image'))} of {image.shape[1]}x{image.shape[0]}"
    try:
        out = pipeline(image=image, bboxes=boxes, index=np.arange(len(boxes)))
    except Exception as e:  # the user chooses the transforms, and each fails in its own way
        raise InputError(f"{key}, {type(e).__name__}: {' '.join(str(e).split())[:300]}; change the transforms") from e
    made = out["image"]
    if not (isinstance(made, np.ndarray) and made.dtype == np.uint8 and made.ndim == 3 and made.shape[2] == 3):
        kind = f"{made.dtype}, {tuple(made.shape)}"
        raise InputError(f"{key}, the transforms make {kind}, not uint8, (H, W, 3); leave out what changes the type")
    return out


def _augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """detectron2's crop (in training, where INPUT.CROP asks for it), resize and flip."""
    crop = cfg.INPUT.CROP
    crops = [T.RandomCrop(crop.TYPE, crop.SIZE)] if is_train and crop.ENABLED else []
    resize, *flips = utils.build_augmentation(cfg, is_train)
    faster = ResizeShortestEdge(resize.short_edge_length, resize.max_size, resize.sample_style, resize.interp)
    return [*crops, faster, *flips]
