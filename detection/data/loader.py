"""cfg -> loaders of what detectron2's models take; a training order that a resumed run finds again."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from backbones.errors import InputError
from detection.data.mapper import DetectionMapper
from detection.data.proposals import attach_proposals
from residet.loaders import Loader, PositionSampler, loader_options, seeded

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
    """Model inputs by (position in the run, index); each has random numbers of its own, drawn from its position.

    Args:
        records: dataset dicts; held as one array of bytes, which worker processes share rather than copy.
        mapper: dataset dict -> model input.
        seed: of the augmentation.
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
    """Batches of (position, index) whose images are all wider than high or all not, so that little is padded.

    detectron2 groups what its workers hand out, which depends on where a run began; this depends on the stream alone.

    Args:
        stream: of (position, index), endless.
        groups: an image's group, by its index.
        batch: images in a batch.
        start: so many batches are passed over.
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
    """A training loader's batches; boxes that augmentation left without area are counted in metrics and log."""

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
    """Endless, shuffled, from iteration `start_iter` on; each process draws its share of SOLVER.IMS_PER_BATCH.

    Raises:
        InputError: the proposals are not those of the images, or the sampler is unknown.
    """
    records = training_records(cfg)
    parts = cfg.SOLVER.ACCUMULATE
    batch = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // parts
    grouping = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    groups = [grouping and r["width"] > r["height"] for r in records]
    stream = PositionSampler(_indices(cfg, records), 0)
    return CountedBatches(
        Loader(
            TrainingRecords(records, DetectionMapper(cfg, True), cfg.SEED),
            batch_sampler=GroupedBatches(stream, groups, batch, start_iter * parts),
            collate_fn=trivial_batch_collator,
            **loader_options(cfg),
        )
    )


def training_records(cfg: CfgNode) -> list[dict]:
    """Dataset dicts of all training data together, with their proposals where those come from files."""
    records = [r for name in cfg.DATASETS.TRAIN for r in records_of(cfg, name)]
    if not cfg.DATASETS.TRAIN_ON_DIFFICULT:
        records = [r | {"annotations": [a for a in r["annotations"] if not a.get("difficult")]} for r in records]
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = filter_images_with_only_crowd_annotations(records)
    return records


def records_of(cfg: CfgNode, dataset_name: str) -> list[dict]:
    """Dataset dicts of one data set, with their proposals where those come from files."""
    data, records = cfg.DATASETS, DatasetCatalog.get(dataset_name)
    if not cfg.MODEL.LOAD_PROPOSALS:
        return records
    names, files = (*data.TRAIN, *data.TEST), (*data.PROPOSAL_FILES_TRAIN, *data.PROPOSAL_FILES_TEST)
    return attach_proposals(records, dict(zip(names, files, strict=True))[dataset_name])


def _indices(cfg: CfgNode, records: list[dict]) -> Iterable[int]:
    if cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        repeats = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            records, cfg.DATALOADER.REPEAT_THRESHOLD
        )
        return RepeatFactorTrainingSampler(repeats, seed=cfg.SEED)
    return TrainingSampler(len(records), seed=cfg.SEED)


def build_test_loader(cfg: CfgNode, dataset_name: str, *, with_instances: bool = False) -> Loader:
    """Every image once, one by one, split over the processes; with its proposals where those come from a file."""
    data = MapDataset(DatasetFromList(records_of(cfg, dataset_name)), DetectionMapper(cfg, False, with_instances))
    sampler, collate = InferenceSampler(len(data)), trivial_batch_collator
    return Loader(data, 1, sampler=sampler, collate_fn=collate, **loader_options(cfg))


def check_loader(cfg: CfgNode, *, eval_only: bool) -> None:
    """Raises InputError if the sampler is unknown, or there is not one file of proposals for each data set."""
    loader, data = cfg.DATALOADER, cfg.DATASETS
    if loader.SAMPLER_TRAIN not in SAMPLERS:
        raise InputError(f"DATALOADER.SAMPLER_TRAIN: {loader.SAMPLER_TRAIN!r} is none of {', '.join(SAMPLERS)}")
    if loader.SAMPLER_TRAIN == "RepeatFactorTrainingSampler" and not 0 < loader.REPEAT_THRESHOLD <= 1:
        raise InputError(
            "DATALOADER.REPEAT_THRESHOLD: the share of images below which a class is repeated, such as 0.3; it is "
            f"{loader.REPEAT_THRESHOLD}"
        )
    if not cfg.MODEL.LOAD_PROPOSALS:
        return
    for split in ("TEST",) if eval_only else ("TRAIN", "TEST"):
        names, files = data[split], data[f"PROPOSAL_FILES_{split}"]
        if len(names) != len(files):
            raise InputError(
                f"DATASETS.PROPOSAL_FILES_{split}: {len(files)} files for {len(names)} data sets; MODEL.LOAD_PROPOSALS "
                "wants one for each"
            )
