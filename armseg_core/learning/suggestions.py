"""The command that usually comes next, with the user's own files in it. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from armseg_core import advice
from armseg_core.data import DataSet, Description, describe, open_dataset
from armseg_core.errors import ArmsegError
from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.learning.run_folder import RunFolder

MEASURED = (
    "test",
    "val",
)  # splits kept for measuring; training chooses its best model by the second


def split_to_measure(data: Iterable[Description]) -> str | None:
    """The split to evaluate on that all of the data sets have; None where there is none."""
    splits = [described.splits for described in data]
    return next((name for name in MEASURED if splits and all(name in each for each in splits)), None)


def after_training(run: RunFolder, data: Sequence[Description]) -> str:
    """The command that measures a run on the data sets it was trained on.

    Without a split for that, the one that shows its curves.
    """
    split = split_to_measure(data)
    if split is None:
        return advice.command("visualize", run.folder)
    other = () if split == MEASURED[0] else ("--split", split)
    return advice.command("eval", "--model", run.folder, *other)


def predict_command(data: Sequence[Path], model: Path, sensors: Sequence[str]) -> str:
    """The command that segments a sample of the first data set with a model that knows some sensors.

    Where the data set cannot be opened, IMAGE and SENSOR_FILE stand for the files.
    """
    try:
        described = describe(data[0])
        dataset = open_dataset(described, split_to_measure([described]) or described.splits[0])
        words = sample_words(dataset, sensors)
    except (ArmsegError, IndexError):
        words = ["IMAGE", "SENSOR_FILE"] if sensors else ["IMAGE"]
    image, *others = words
    return advice.command("predict", image, *others, "--model", model)


def sample_words(dataset: DataSet, sensors: Sequence[str], known_as: str | None = None) -> list[object]:
    """What follows `armseg predict` for a sample: image, sensor file and how that is read.

    The first of the sensors that some sample has is taken. known_as: value of --dataset, None: not needed.
    """
    named = [] if known_as is None else ["--dataset", known_as]
    for sensor in sensors:
        indices = dataset.indices_with(sensor)
        if not indices:
            continue
        sample_id = dataset.ids[indices[0]]
        path, time_us = dataset.sensor_path(sample_id, sensor), dataset.time_us(sample_id)
        options = dataset.sensor_options(sample_id, sensor)
        # files belong to the recording and are not recorded with the model; the image is the whole one
        files = {name: value for name, value in options.items() if isinstance(value, Path)}
        whole = [word for name in options if name.startswith("crop_") for word in ("--set", f"{name}=0")]
        at = ["--at", time_us] if time_us is not None and (sensor == "event" or is_tensor_file(path)) else []
        flags = advice.sensor_flags(sensor, options=files)
        return [dataset.rgb_path(sample_id), path, *flags, *whole, *at, *named]
    return [dataset.rgb_path(dataset.ids[0]), *named]
