"""What training reads: the data sets of a run, and the batch of every step.

The batch of a step depends on the seed and the step alone, in whichever process it is made: a run that was
interrupted goes on with the batches it would have had.

Shape letters: B batch, C channels, H W image rows and columns.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from armseg_core import advice
from armseg_core.config.training import ALL, TrainConfig
from armseg_core.data import Description, describe, open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.data.dataset_file import path_options
from armseg_core.data.label_audit import audit_labels
from armseg_core.errors import DataSetError, UsageError
from armseg_core.interruption import ENDING
from armseg_core.learning.augment import Augment
from armseg_core.learning.losses import IGNORE
from armseg_core.learning.sampler import Draw, JointSampler
from armseg_core.sensors import RGB, SENSORS, get_modality


@dataclass(frozen=True)
class Batch:
    """A homogeneous batch of data set number `dataset`, every sample with the same sensors.

    rgb (B, 3, H, W) float32 in [0, 1], label (B, H, W) int64 with IGNORE where a pixel does not count,
    sensors: name -> (B, C, H, W) float32, empty: RGB only. ids: of the samples.
    """

    dataset: int
    rgb: Tensor
    label: Tensor
    sensors: dict[str, Tensor]
    ids: tuple[str, ...] = ()


def with_known_sensors(config: TrainConfig, data: Sequence[Description] | None = None) -> TrainConfig:
    """The configuration with the names of its sensors as SENSORS has them, each once; "all" is every sensor.

    data: the data sets of the configuration, where they are described already.

    Raises:
        UsageError: an unknown sensor, or the RGB camera, which is always there.
    """
    if data is None:
        for folder in config.data:
            describe(folder)  # it may declare sensors
    names = SENSORS if config.modalities == (ALL,) else config.modalities
    found = tuple(dict.fromkeys(get_modality(name).name for name in names))
    if RGB.name in found:
        raise UsageError("modalities lists extra sensors only; leave rgb out (it is always there)")
    return config.model_copy(update={"modalities": found})


def sensors_of(data: Iterable[Description]) -> tuple[str, ...]:
    """Every sensor that some of the data sets has, in table order."""
    found = {name for described in data for name in described.modalities}
    return tuple(name for name in SENSORS if name in found)


def open_data(
    config: TrainConfig, data: Sequence[Description] | None = None
) -> tuple[list[DataSet], list[DataSet]]:
    """Training and validation splits of every data set, with the wanted sensors that it has.

    data: the data sets of `config.data`, where they are described already.

    Raises:
        DataSetError, UsageError: a folder is no data set, its labels are useless or would be thrown away, or
            none of the data sets has a wanted sensor. Less grave losses of labels are warned of.
    """
    if not config.data:
        raise UsageError(
            "no data set given", hint="armseg train DATA, where DATA is a folder with dataset.toml"
        )
    training: list[DataSet] = []
    validation: list[DataSet] = []
    for described in map(describe, config.data) if data is None else data:
        wanted = tuple(m for m in config.modalities if m in described.modalities)
        for split, into in (("train", training), ("val", validation)):
            if split == "train" or split in described.splits:
                into.append(
                    open_dataset(described, split, wanted, config.size, config.cache_mb, config.cache_dir)
                )
    _check(config, training, validation)
    for dataset in (*training, *validation):
        audit_labels(dataset)
    return training, validation


def _check(config: TrainConfig, training: list[DataSet], validation: list[DataSet]) -> None:
    for m in config.modalities:
        if not any(d.indices_with(m) for d in training if m in d.selected):
            raise UsageError(
                f"no training sample has {m}",
                where=", ".join(map(str, config.data)),
                expected="some of "
                + (", ".join(sorted({m for d in training for m in d.modalities})) or "rgb"),
                hint=advice.command("check", config.data[0]),
            )
    if len(validation) not in (0, len(training)):
        raise DataSetError("some data sets have a 'val' split and some have not", expected="all or none")
    names = [d.name for d in training]
    for dataset in training:
        if names.count(dataset.name) > 1:
            raise DataSetError(
                f"two data sets are called '{dataset.name}'", where=dataset.root, expected="names that differ"
            )
        if len(dataset.classes) > IGNORE:
            raise DataSetError(
                f"{len(dataset.classes)} classes", where=dataset.root, expected=f"at most {IGNORE}"
            )


# pixels: the usual crop of the field; in steps that towers of stride 8, 16 and 32 need not pad
CROP, CROP_STEP = 512, 32
STATISTICS_SAMPLES = 64  # of a data set, evenly chosen: plenty for a mean and a deviation per channel
STATISTICS_PIXELS = 7  # every 7th pixel of them: neighbors say nearly the same


def crop_size(size: tuple[int, int]) -> tuple[int, int]:
    """Default training crop (H, W) for images of `size` (H, W).

    CROP at most, a multiple of CROP_STEP, no larger than the image (but at least CROP_STEP).
    """
    h, w = (max(CROP_STEP, min(CROP, side) // CROP_STEP * CROP_STEP) for side in size)
    return h, w


def sampling_pools(dataset: DataSet) -> dict[tuple[str, ...], list[int]]:
    """Sensors -> the samples that have these and no others, for the sampler; every sample is in one pool."""
    having = {m: set(dataset.indices_with(m)) for m in dataset.selected}
    pools: dict[tuple[str, ...], list[int]] = {}
    for i in dataset.indices_with(None):
        pools.setdefault(tuple(m for m in dataset.selected if i in having[m]), []).append(i)
    return pools


def batches(config: TrainConfig, datasets: list[DataSet], start: int = 0) -> Iterator[Batch]:
    """The batches of steps `start` ... config.steps - 1."""
    sampler = JointSampler(
        [sampling_pools(d) for d in datasets],
        config.batch_size,
        config.temperature,
        config.all_sensors,
        config.seed,
    )
    draws = [(step, next(sampler)) for step in range(config.steps)]
    yield from DataLoader(
        _Draws(config, datasets),
        sampler=draws[start:],
        batch_size=None,
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        worker_init_fn=_leave_signals_to_parent,
        generator=torch.Generator(),  # the loader draws a number at its start: not from the model's generator
    )


class _Draws(Dataset[Batch]):
    """Turns (step, draw) into a Batch."""

    def __init__(self, config: TrainConfig, datasets: list[DataSet]) -> None:
        self.config, self.datasets = config, datasets

    def __getitem__(self, item: tuple[int, Draw]) -> Batch:
        step, draw = item
        config, dataset = self.config, self.datasets[draw.dataset]
        samples = [dataset.load(i, draw.sensors) for i in draw.indices]
        augment = Augment(
            crop=config.crop or crop_size(samples[0].size),
            scale=config.scale,
            hflip=config.hflip,
            photometric=config.photometric,
            ignore_index=dataset.ignore_index,
        )
        rgb, labels = [], []
        frames: dict[str, list[np.ndarray]] = {m: [] for m in draw.sensors}
        for k, sample in enumerate(samples):
            if sample.label is None:
                hint = advice.command("check", dataset.root)
                raise DataSetError("training sample has no label", where=sample.id, hint=hint)
            changed = augment(sample, np.random.default_rng([config.seed, step, k]))
            assert changed.label is not None
            rgb.append(changed.rgb)
            labels.append(np.where(changed.label == dataset.ignore_index, IGNORE, changed.label))
            for m, kept in frames.items():
                kept.append(changed.sensors[m])
        return Batch(
            draw.dataset,
            torch.from_numpy(np.stack(rgb)),
            torch.from_numpy(np.stack(labels)),
            {m: torch.from_numpy(np.stack(kept)) for m, kept in frames.items()},
            tuple(sample.id for sample in samples),
        )


def _leave_signals_to_parent(worker: int) -> None:
    """Ignore what ends a terminal or a job: it reaches every process, and the training itself acts on it.

    A worker ends when the training is done with it or has ended.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def recorded_options(dataset: DataSet) -> dict[str, dict[str, Any]]:
    """How a data set's raw sensor files are converted, for the model folder.

    `predict` reads new recordings the same way. Options that name a file are left out, since they belong to a
    recording.
    """
    return {
        m: {k: v for k, v in dataset.sensor_options(dataset.ids[0], m).items() if k not in path_options(m)}
        for m in dataset.selected
    }


def statistics(
    datasets: list[DataSet], modality: str, samples: int = STATISTICS_SAMPLES
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of a sensor's channels over evenly chosen training samples."""
    values = []
    for dataset in datasets:
        if modality in dataset.selected:
            indices = dataset.indices_with(modality)
            for i in indices[:: max(1, len(indices) // samples)][:samples]:
                frame = dataset.load(i, (modality,)).sensors[modality]
                values.append(frame.reshape(len(frame), -1)[:, ::STATISTICS_PIXELS])
    flat = np.concatenate(values, axis=1)
    return torch.from_numpy(flat.mean(1)), torch.from_numpy(flat.std(1))
