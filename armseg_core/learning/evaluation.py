"""Evaluation: confusion matrices of a model over a data set, always with the RGB-only row beside RGB+X.

Protocol (facts of the field's peers): one confusion matrix over the whole split at label resolution, pixels
with the ignore label left out; mIoU over the classes that occur and over all classes. The logits are resized,
not the masks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from armseg_core import advice
from armseg_core.data import Description, describe, open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.data.label_audit import audit_labels
from armseg_core.data.sample import Sample
from armseg_core.data.sample_data import sample_data_dir
from armseg_core.errors import DataSetError, UsageError
from armseg_core.files.atomic import atomic_path
from armseg_core.files.json_text import to_json
from armseg_core.files.ownership import EMPTY_SEAL, check_free, sealed
from armseg_core.learning.inference import Inference, pick_device
from armseg_core.learning.inputs import RGB_ONLY, Inputs
from armseg_core.learning.metrics import ConfusionMatrix
from armseg_core.learning.model import Model
from armseg_core.learning.model_folder import input_rule, load
from armseg_core.learning.run_folder import RunFolder, find_model
from armseg_core.learning.suggestions import sample_words, split_to_measure


@dataclass(frozen=True)
class Row:
    """One line of a report: which inputs, and the confusion matrix they give."""

    dataset: str
    inputs: Inputs
    samples: int
    matrix: ConfusionMatrix


@dataclass(frozen=True)
class Report:
    """Every row of an evaluation and the class names by data set.

    size: (H, W) that the inputs were resized to, None: as they come. trained_size: the same of the training.
    example: the words after `armseg predict` for a sample of the first data set.
    """

    rows: list[Row]
    class_names: dict[str, tuple[str, ...]]
    split: str
    model: str = ""
    size: tuple[int, int] | None = None
    trained_size: tuple[int, int] | None = None
    example: tuple[object, ...] = ()

    def row(self, inputs: Inputs | str, dataset: str | None = None) -> Row:
        """The row of some inputs or of their title (of the first data set that has it, when none is named).

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if inputs in (row.inputs, row.inputs.title) and dataset in (None, row.dataset):
                return row
        raise KeyError(inputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "split": self.split,
            "input": input_rule(self.size),
            "input_of_training": input_rule(self.trained_size),
            "rows": [
                {
                    "dataset": r.dataset,
                    "inputs": r.inputs.title,
                    "samples": r.samples,
                    **r.matrix.to_dict(self.class_names[r.dataset]),
                }
                for r in self.rows
            ],
        }


def _batches(
    dataset: DataSet, indices: list[int], batch_size: int, needed: tuple[str, ...]
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Neighboring samples of equal size together, in order."""
    numbers: list[int] = []
    samples: list[Sample] = []
    for i in indices:
        sample = dataset.load(i, needed)
        if samples and (len(samples) == batch_size or sample.size != samples[0].size):
            yield numbers, samples
            numbers, samples = [], []
        numbers.append(i)
        samples.append(sample)
    if samples:
        yield numbers, samples


def samples_of(dataset: DataSet, inputs: Inputs) -> list[int]:
    """Numbers of the samples that have every sensor that the inputs need."""
    wanted = [set(dataset.indices_with(m)) for m in inputs.needs]
    return [i for i in dataset.indices_with(None) if all(i in some for some in wanted)]


def confusion(
    inference: Inference,
    dataset: DataSet,
    inputs: Inputs,
    *,
    dataset_index: int = 0,
    batch_size: int = 8,
    progress: bool = False,
) -> ConfusionMatrix:
    """Confusion matrix of one choice of inputs over the labeled samples that have the sensor.

    With the control "other scene" every sample gets the sensor frames of another sample of the split: a gain
    that stays cannot come from the sensor. dataset_index: which of the model's data sets this one is.

    Raises:
        DataSetError: no sample of the split has the sensor, or fewer than two for the control.
    """
    control = inputs.control is not None
    indices = samples_of(dataset, inputs)
    if not indices or (control and len(indices) < 2):
        raise DataSetError(
            f"split '{dataset.split}' has {len(indices)} samples with {', '.join(inputs.needs) or 'rgb'}",
            where=dataset.root,
            expected="two or more" if control else "some",
        )
    matrix = ConfusionMatrix(len(dataset.classes), dataset.ignore_index)
    partner = other_scenes(indices)
    bar = tqdm(
        total=len(indices),
        desc=f"eval {inputs.title}",
        leave=False,
        file=sys.stderr,
        disable=not (progress and sys.stderr.isatty()),
    )
    with bar:
        for numbers, samples in _batches(dataset, indices, batch_size, inputs.sensors):
            sources = samples
            if control:
                sources = [dataset.load(partner[i], inputs.sensors) for i in numbers]
            frames = {
                m: [_fit(a.sensors[m], s.size) for a, s in zip(sources, samples, strict=True)]
                for m in inputs.sensors
            }
            labels = [_label(dataset, i, sample) for i, sample in zip(numbers, samples, strict=True)]
            images = [s.rgb for s in samples] if inputs.rgb else None
            sizes = [(label.shape[0], label.shape[1]) for label in labels]
            scores = inference.logits(images, frames, dataset_index, sizes)
            for one, label in zip(scores, labels, strict=True):
                matrix.update(one.argmax(0), label)
            bar.update(len(samples))
    return matrix


def other_scenes(indices: list[int]) -> dict[int, int]:
    """Sample -> the sample whose sensor frame it gets as a control.

    It is half a split further on, so that it is far away in a video sequence. Never the sample itself when
    there are two or more.
    """
    return dict(zip(indices, np.roll(indices, len(indices) // 2).tolist(), strict=True))


def _label(dataset: DataSet, index: int, sample: Sample) -> np.ndarray:
    """The label at its own resolution, also when the images are resized."""
    label = sample.label if dataset.size is None else dataset.load_label(index)
    if label is None:
        raise DataSetError("sample has no label", where=sample.id, hint=advice.command("check", dataset.root))
    return label


def _fit(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop or repeat the edge of a (C, H, W) frame so that it has `size`; the frame itself where it has."""
    if frame.shape[1:] == size:
        return frame
    frame = frame[:, : size[0], : size[1]]
    pad = [(0, 0), (0, size[0] - frame.shape[1]), (0, size[1] - frame.shape[2])]
    return np.pad(frame, pad, mode="edge")


def evaluate(
    model: Model | Path | str,
    data: Sequence[Path | Description],
    split: str = "test",
    *,
    modalities: tuple[str, ...] | None = None,
    inputs: Sequence[Inputs] = (),
    controls: bool = False,
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "auto",
    guide_weights: Path | None = None,
    backbone_weights: Path | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Report:
    """Evaluate a model folder (or a loaded model) on data sets, given by folder or description.

    For every data set: the RGB-only row, then a row per sensor that both the model and the data set have, and
    one with all of them; with `controls` also the sensors alone and those of another scene. Where only some
    samples have the sensors, an RGB-only row over the same samples stands before it: only those two can be
    compared. inputs: the rows that are wanted, instead of these. size: (H, W) that the inputs are resized to
    (default: the size the model was trained with).

    Raises:
        CheckpointError, UsageError.
        DataSetError: also for labels that would be thrown away; less grave losses are warned of.
    """
    where = "" if isinstance(model, Model) else str(find_model(model))
    loaded = (
        model
        if isinstance(model, Model)
        else load(model, pick_device(device), guide_weights, backbone_weights)
    )
    inference = Inference.as_trained(loaded, size, precision)
    rows: list[Row] = []
    names: dict[str, tuple[str, ...]] = {}
    example: list[object] = []
    for each in data:
        named = tuple(dict.fromkeys(m for row in inputs for m in row.needs)) if inputs else modalities
        dataset, index, wanted = _open(loaded, each, split, named, inference.size, cache_dir)
        audit_labels(dataset)
        names[dataset.name] = dataset.class_names
        if not example:
            example = sample_words(dataset, wanted, loaded.datasets[index].name if index else None)
        for row in inputs or plan(dataset, wanted, controls):
            matrix = confusion(
                inference, dataset, row, dataset_index=index, batch_size=batch_size, progress=progress
            )
            rows.append(Row(dataset.name, row, len(samples_of(dataset, row)), matrix))
    return Report(rows, names, split, where, inference.size, loaded.input_size, tuple(example))


def training_data(run: RunFolder | None, model: Path) -> list[Path]:
    """The data sets that a run was trained on; the sample data where its own has moved.

    Args:
        run: the run that the model lies in, if any. model: its folder, for the message.

    Raises:
        UsageError: there is no run, or it does not say.
    """
    found = run.data if run is not None else []
    if not found:
        raise UsageError(
            "no data set given, and the model folder has no run folder around it",
            hint=advice.command("eval", "DATA", "--model", model),
        )
    missing = [folder for folder in found if not folder.is_dir()]
    if missing and all("sample_data" in folder.name for folder in missing):
        return [sample_data_dir()]
    return found


def plan(dataset: DataSet, sensors: Sequence[str], controls: bool = False) -> Iterator[Inputs]:
    """The inputs of every row: RGB, each of the sensors, and all of them where some samples have them all."""
    yield RGB_ONLY
    every = tuple(sensors)
    together = [every] if len(every) > 1 and samples_of(dataset, Inputs(sensors=every)) else []
    for some in [*((m,) for m in sensors), *together]:
        if len(samples_of(dataset, Inputs(sensors=some))) < len(dataset):
            yield Inputs(among=some)
        yield Inputs(sensors=some)
        if controls:
            yield Inputs(rgb=False, sensors=some)
            yield Inputs(sensors=some, control="other scene")


def _open(
    model: Model,
    data: Path | Description,
    split: str,
    modalities: tuple[str, ...] | None,
    size: tuple[int, int] | None,
    cache_dir: Path | None,
) -> tuple[DataSet, int, list[str]]:
    described = describe(data)
    if split not in described.splits:
        raise UsageError(
            f"data set '{described.name}' has no split '{split}'",
            where=described.root,
            expected="one of " + ", ".join(described.splits),
            hint=f"--split {split_to_measure([described]) or described.splits[0]}",
        )
    wanted = [
        m for m in (modalities if modalities is not None else model.modalities) if m in described.modalities
    ]
    for m in modalities or ():
        if m not in model.modalities:
            raise UsageError(
                f"the model was not trained with {m}",
                expected="one of " + (", ".join(model.modalities) or "rgb only"),
            )
        if m not in described.modalities:
            raise UsageError(
                f"data set '{described.name}' has no {m}",
                where=described.root,
                expected="one of " + (", ".join(described.modalities) or "rgb only"),
            )
    dataset = open_dataset(described, split, tuple(wanted), size, cache_mb=2048, cache_dir=cache_dir)
    fitting = [i for i, d in enumerate(model.datasets) if d.class_names == dataset.class_names]
    if not fitting:
        raise DataSetError(
            f"the classes of '{dataset.name}' are not those of any data set the model was trained on",
            where=described.root,
            expected="; ".join(f"{d.name}: {', '.join(d.class_names)}" for d in model.datasets),
        )
    same_name = [i for i in fitting if model.datasets[i].name == dataset.name]
    return dataset, (same_name or fitting)[0], [m for m in wanted if dataset.indices_with(m)]


def save_report(report: Report, path: Path, *, force: bool = False) -> None:
    """Write a report as JSON (atomic), with a seal.

    Args:
        force: replace a file in the way that armseg did not make or that was changed since.

    Raises:
        OutputError: it cannot be written, or such a file is in the way.
    """
    check_free([path], force=force)
    text = to_json({"seal": EMPTY_SEAL, **report.to_dict()}, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(text.encode()))
