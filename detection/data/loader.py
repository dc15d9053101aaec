"""Builds the data loaders of a config, whose batches detectron2's models take.

The order of the training images, and their augmentation, do not depend on the iteration at which a run was started. A
resumed run therefore sees the same batches as a run that was never stopped.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from detection.data.mapper import DetectionMapper
from detection.data.proposals import attach_proposals
from residet.engine.loaders import Loader, PositionSampler, loader_options, seeded

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, MapDataset
from detectron2.data.build import filter_images_with_only_crowd_annotations, trivial_batch_collator
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch.utils.data import Dataset, Sampler

log = logging.getLogger("residet")

SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler")


class TrainingRecords(Dataset):
    """Training examples. The key of an example is (position in the run, index of its dataset dict).

    The random numbers of the mapper follow from the seed and the position, so that a resumed run repeats the random
    numbers.

    Args:
        records: dataset dicts, stored as one array of bytes, which worker processes share and do not copy.
        mapper: turns a dataset dict into a model input.
        seed: seed of the augmentation.
    """

    def __init__(self, records: list[dict], mapper: Callable[[dict], dict], seed: int):
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        with seeded((self.seed, position)):
            return self.mapper(self.records[index])


class GroupedBatches(Sampler):
    """Batches of the keys of `TrainingRecords`. Only images of the same group are in one batch.

    Images in a batch are padded to a common size. Batches of only wide or only tall images need little padding.
    detectron2 groups the images that its workers return, so that its batches depend on the iteration at which the run
    was started. The batches here depend only on `stream`.

    Args:
        stream: endless keys (position in the run, index of a dataset dict).
        groups: the group of each dataset dict, by index, such as whether its image is wider than high.
        batch: number of images in a batch.
        start: number of batches to skip.
    """

    def __init__(self, stream: Iterable[tuple[int, int]], groups: Sequence[bool], batch: int, start: int):
        self.stream = stream
        self.groups = groups
        self.batch = batch
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return itertools.islice(self._all(), self.start, None)

    def _all(self) -> Iterator[list[tuple[int, int]]]:
        waiting: dict[bool, list] = {True: [], False: []}
        for position, index in self.stream:
            group = self.groups[index]
            waiting[group].append((position, index))
            if len(waiting[group]) == self.batch:
                yield waiting[group]
                waiting[group] = []


class CountedBatches:
    """Yields the batches of a training loader, and counts the boxes that augmentation left without area.

    The count of each batch is the metric `data/dropped_boxes`. The count of the run is logged at its end.

    Args:
        loader: yields lists of model inputs. Each has the key `dropped_boxes`, which is removed.
    """

    def __init__(self, loader: Loader):
        self.loader = loader

    def __iter__(self) -> Iterator[list[dict]]:
        boxes = total = 0
        try:
            for batch in self.loader:
                dropped = sum(example.pop("dropped_boxes") for example in batch)
                get_event_storage().put_scalar("data/dropped_boxes", dropped)
                boxes += dropped + sum(len(example["instances"]) for example in batch)
                total += dropped
                yield batch
        finally:
            log.info("augmentation: %d of %d boxes cropped away or left without area", total, boxes)


def build_train_loader(cfg: CfgNode, start_iter: int = 0) -> CountedBatches:
    """The endless, shuffled batches of a training run.

    Args:
        cfg: the config. A batch of one process holds SOLVER.IMS_PER_BATCH / (processes * SOLVER.ACCUMULATE) images.
        start_iter: first iteration. Each iteration takes SOLVER.ACCUMULATE batches.

    Raises:
        InputError: a file of proposals does not fit the images.
    """
    records = training_records(cfg)
    accumulated = cfg.SOLVER.ACCUMULATE
    batch = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // accumulated
    grouping = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    groups = [grouping and r["width"] > r["height"] for r in records]
    stream = PositionSampler(_indices(cfg, records), 0)
    return CountedBatches(
        Loader(
            TrainingRecords(records, DetectionMapper(cfg, True), cfg.SEED),
            batch_sampler=GroupedBatches(stream, groups, batch, start_iter * accumulated),
            collate_fn=trivial_batch_collator,
            **loader_options(cfg),
        )
    )


def training_records(cfg: CfgNode) -> list[dict]:
    """The dataset dicts of all training data; with MODEL.LOAD_PROPOSALS they have proposals.

    Without DATASETS.TRAIN_ON_DIFFICULT, objects marked `difficult` are left out. With
    DATALOADER.FILTER_EMPTY_ANNOTATIONS, images without an object, or with crowds only, are left out.

    Raises:
        InputError: a file of proposals does not fit the images.
    """
    records = [r for name in cfg.DATASETS.TRAIN for r in records_of(cfg, name)]
    if not cfg.DATASETS.TRAIN_ON_DIFFICULT:
        records = [r | {"annotations": [a for a in r["annotations"] if not a.get("difficult")]} for r in records]
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = filter_images_with_only_crowd_annotations(records)
    return records


def records_of(cfg: CfgNode, dataset_name: str) -> list[dict]:
    """The dataset dicts of one data set; with MODEL.LOAD_PROPOSALS they have the proposals of the set's file.

    Raises:
        InputError: the file of proposals does not fit the images.
    """
    data, records = cfg.DATASETS, DatasetCatalog.get(dataset_name)
    if not cfg.MODEL.LOAD_PROPOSALS:
        return records
    names, files = (*data.TRAIN, *data.TEST), (*data.PROPOSAL_FILES_TRAIN, *data.PROPOSAL_FILES_TEST)
    return attach_proposals(records, dict(zip(names, files, strict=True))[dataset_name])


def _indices(cfg: CfgNode, records: list[dict]) -> Iterable[int]:
    """The endless order in which this process takes the dataset dicts, by DATALOADER.SAMPLER_TRAIN."""
    if cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        repeats = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            records, cfg.DATALOADER.REPEAT_THRESHOLD
        )
        return RepeatFactorTrainingSampler(repeats, seed=cfg.SEED)
    return TrainingSampler(len(records), seed=cfg.SEED)


def build_test_loader(cfg: CfgNode, dataset_name: str, *, with_instances: bool = False) -> Loader:
    """Loads every image of a data set once, in batches of one image, split over the processes.

    Args:
        cfg: the config.
        dataset_name: registered data.
        with_instances: whether the model inputs have the annotated objects as `instances`, which losses need.

    Raises:
        InputError: the file of proposals does not fit the images.
    """
    data = MapDataset(DatasetFromList(records_of(cfg, dataset_name)), DetectionMapper(cfg, False, with_instances))
    sampler, collate = InferenceSampler(len(data)), trivial_batch_collator
    return Loader(data, 1, sampler=sampler, collate_fn=collate, **loader_options(cfg))
