"""Evaluation: confusion matrices of a model over a data set, always with the RGB-only row beside RGB+X.

Protocol (facts of the field's peers): one confusion matrix over the whole split at label resolution, pixels
with the ignore label left out; mIoU over the classes that occur and over all classes. The logits are resized,
not the masks.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from armseg_core.config.training import Precision
from armseg_core.data import open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.data.sample import Sample
from armseg_core.errors import DataSetError, UsageError
from armseg_core.metrics import ConfusionMatrix
from armseg_core.model.checkpoint import Model, find_model, load
from armseg_core.model.layers import resize
from armseg_core.tensorfile import atomic_path

RGB_ONLY = "rgb"


@dataclass(frozen=True)
class Row:
    """One line of a report: which inputs, and the confusion matrix they give."""

    dataset: str
    inputs: str  # "rgb", "rgb+thermal", "thermal", "rgb+thermal (other scene)"
    samples: int
    matrix: ConfusionMatrix


@dataclass(frozen=True)
class Report:
    """Every row of an evaluation and the class names by data set."""

    rows: list[Row]
    class_names: dict[str, tuple[str, ...]]
    split: str
    model: str = ""

    def row(self, inputs: str, dataset: str | None = None) -> Row:
        """The row of some inputs (of the first data set that has it, when none is named).

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.inputs == inputs and dataset in (None, row.dataset):
                return row
        raise KeyError(inputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "split": self.split,
            "rows": [
                {
                    "dataset": r.dataset,
                    "inputs": r.inputs,
                    "samples": r.samples,
                    **r.matrix.to_dict(self.class_names[r.dataset]),
                }
                for r in self.rows
            ],
        }


def pick_device(name: str) -> torch.device:
    """'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UsageError: another name, or CUDA is asked for and absent.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"unknown device '{name}'", where="--device", expected="auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= count:
        raise UsageError(
            f"no CUDA device {number or 'here'}",
            where=f"--device {name}",
            hint="--device cpu (armseg doctor shows why)",
        )
    if kind == "auto":
        return torch.device("cuda" if count else "cpu")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 autocast where asked for (auto: on CUDA only).

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(
            f"unknown precision '{precision}'", where="--precision", expected=", ".join(get_args(Precision))
        )
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def _batches(
    dataset: DataSet, indices: list[int], batch_size: int, needed: tuple[str, ...]
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Neighbouring samples of equal size together, in order."""
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


@torch.inference_mode()
def confusion(
    model: Model,
    dataset: DataSet,
    modality: str | None,
    *,
    domain: int = 0,
    use_rgb: bool = True,
    other_scene: bool = False,
    batch_size: int = 8,
    precision: str = "auto",
    progress: bool = False,
    indices: list[int] | None = None,
) -> ConfusionMatrix:
    """Confusion matrix of one choice of inputs over the labelled samples that have the sensor.

    modality: extra sensor, or None for RGB only. other_scene: every sample gets the sensor frame of another
    sample of the split (a control: a gain that stays cannot come from the sensor). indices: only these
    samples.

    Raises:
        DataSetError: no sample of the split has the sensor, or other_scene with fewer than two.
    """
    if indices is None:
        indices = dataset.indices_with(modality)
    if not indices or (other_scene and len(indices) < 2):
        raise DataSetError(
            f"split '{dataset.split}' has {len(indices)} samples with {modality or 'rgb'}",
            where=dataset.root,
            expected="two or more" if other_scene else "some",
        )
    matrix = ConfusionMatrix(len(dataset.classes), dataset.ignore_index)
    partner = other_scenes(indices)
    bar = tqdm(
        total=len(indices),
        desc=f"eval {modality or 'rgb'}",
        leave=False,
        file=sys.stderr,
        disable=not (progress and sys.stderr.isatty()),
    )
    with _evaluating(model), bar:
        for numbers, samples in _batches(dataset, indices, batch_size, (modality,) if modality else ()):
            rgb = sensor = None
            if use_rgb:
                rgb = torch.from_numpy(np.stack([s.rgb for s in samples])).to(model.device)
            if modality is not None:
                frames = [s.sensors[modality] for s in samples]
                if other_scene:
                    others = [dataset.load(partner[i], (modality,)).sensors[modality] for i in numbers]
                    frames = [_fit(frame, s.size) for frame, s in zip(others, samples, strict=True)]
                sensor = torch.from_numpy(np.stack(frames)).to(model.device)
            with autocast(model.device, precision):
                logits = model.segmenter(rgb, sensor, modality, domain).logits
            for i, sample, scores in zip(numbers, samples, logits, strict=True):
                label = _label(dataset, i, sample)
                mask = resize(scores[None], label.shape).argmax(1)[0]
                matrix.update(mask, label)
            bar.update(len(samples))
    return matrix


def other_scenes(indices: list[int]) -> dict[int, int]:
    """Sample -> the sample whose sensor frame it gets as a control: half a split further on, so that it is
    far away in a video sequence. Never the sample itself when there are two or more."""
    return dict(zip(indices, np.roll(indices, len(indices) // 2).tolist(), strict=True))


@contextlib.contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was."""
    was_training = model.segmenter.training
    model.segmenter.eval()
    try:
        yield
    finally:
        model.segmenter.train(was_training)


def _label(dataset: DataSet, index: int, sample: Sample) -> np.ndarray:
    """The label at its own resolution, also when the images are resized."""
    label = sample.label if dataset.size is None else dataset.load_label(index)
    if label is None:
        raise DataSetError("sample has no label", where=sample.id, hint=f"armseg check {dataset.root}")
    return label


def _fit(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop or repeat the edge of a (C, H, W) frame so that it has `size`."""
    frame = frame[:, : size[0], : size[1]]
    pad = [(0, 0), (0, size[0] - frame.shape[1]), (0, size[1] - frame.shape[2])]
    return np.pad(frame, pad, mode="edge")


def evaluate(
    model: Model | Path | str,
    data: list[Path],
    split: str = "test",
    *,
    modalities: tuple[str, ...] | None = None,
    controls: bool = False,
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "auto",
    weights: Path | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Report:
    """Evaluate a model folder (or a loaded model) on data set folders.

    For every data set: the RGB-only row, then a row per sensor that both the model and the data set have;
    with `controls` also the sensor alone and the sensor of another scene. Where only some samples have the
    sensor, an RGB-only row over the same samples stands before it: only those two can be compared.

    Raises:
        CheckpointError, DataSetError, UsageError.
    """
    where = "" if isinstance(model, Model) else str(find_model(Path(model)))
    loaded = model if isinstance(model, Model) else load(model, pick_device(device), weights)
    rows: list[Row] = []
    names: dict[str, tuple[str, ...]] = {}
    for folder in data:
        dataset, domain, wanted = _open(loaded, folder, split, modalities, size, cache_dir)
        names[dataset.name] = dataset.class_names
        for inputs, modality, choice in _plan(dataset, wanted, controls):
            matrix = confusion(
                loaded,
                dataset,
                modality,
                domain=domain,
                batch_size=batch_size,
                precision=precision,
                progress=progress,
                **choice,
            )
            samples = len(choice.get("indices", dataset.indices_with(modality)))
            rows.append(Row(dataset.name, inputs, samples, matrix))
    return Report(rows, names, split, where)


def _plan(
    dataset: DataSet, modalities: list[str], controls: bool
) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """(name, sensor, arguments of `confusion`) of every row."""
    yield RGB_ONLY, None, {}
    for m in modalities:
        indices = dataset.indices_with(m)
        if len(indices) < len(dataset):
            yield f"rgb (samples with {m})", None, {"indices": indices}
        yield f"rgb+{m}", m, {}
        if controls:
            yield m, m, {"use_rgb": False}
            yield f"rgb+{m} (other scene)", m, {"other_scene": True}


def _open(
    model: Model,
    folder: Path,
    split: str,
    modalities: tuple[str, ...] | None,
    size: tuple[int, int] | None,
    cache_dir: Path | None,
) -> tuple[DataSet, int, list[str]]:
    probe = open_dataset(folder, split, ())
    wanted = [
        m for m in (modalities if modalities is not None else model.modalities) if m in probe.modalities
    ]
    for m in modalities or ():
        if m not in model.modalities:
            raise UsageError(
                f"the model was not trained with {m}",
                expected="one of " + (", ".join(model.modalities) or "rgb only"),
            )
        if m not in probe.modalities:
            raise UsageError(
                f"data set '{probe.name}' has no {m}",
                where=folder,
                expected="one of " + (", ".join(probe.modalities) or "rgb only"),
            )
    dataset = open_dataset(folder, split, tuple(wanted), size, cache_mb=2048, cache_dir=cache_dir)
    fitting = [i for i, d in enumerate(model.domains) if d.class_names == dataset.class_names]
    if not fitting:
        raise DataSetError(
            f"the classes of '{dataset.name}' are not those of any data set the model was trained on",
            where=folder,
            expected="; ".join(f"{d.name}: {', '.join(d.class_names)}" for d in model.domains),
        )
    same_name = [i for i in fitting if model.domains[i].name == dataset.name]
    return dataset, (same_name or fitting)[0], [m for m in wanted if dataset.indices_with(m)]


def save_report(report: Report, path: Path) -> None:
    """Write a report as JSON (atomic)."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2))
