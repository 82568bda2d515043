"""Find every problem of a data set at once: what `armseg check` prints.

Errors stop training or make its result wrong; warnings are worth a look and do not fail the check.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from armseg_core import advice
from armseg_core.data.check_report import Findings, Report
from armseg_core.data.dataset import DataSet
from armseg_core.data.dataset_file import FILE_NAME, DataSetFile, drop_unknown_names, problems, read_toml
from armseg_core.data.description import Description
from armseg_core.data.folder import FolderDataset, ids_on_disk, template_advice
from armseg_core.data.label_audit import (
    LabelFinding,
    LabelTally,
    coding_findings,
    one_class,
    split_findings,
)
from armseg_core.data.registry import dataset_class, open_dataset
from armseg_core.errors import ArmsegError
from armseg_core.files.pictures import PICTURE_SUFFIXES, picture_format, read_rgb
from armseg_core.sensors.image.ranges import out_of_range
from armseg_core.sensors.modalities import IMAGE, declaration_of

UNLABELED_SPLITS = ("test",)  # labels of these are often withheld
Progress = Callable[[int, int], None]  # (samples done, samples in all)


def check_dataset(
    root: str | os.PathLike[str],
    *,
    sensors: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a data set and say what is wrong with it.

    Args:
        root: folder of the data set. sensors: also read and convert every sensor file (slow for long
        recordings); False only sees that they exist. progress: called after each sample.

    Raises:
        InputError, DataSetError: the folder does not exist or is no data set at all. Everything else is
        reported.
    """
    folder = Path(root)
    kind = dataset_class(folder)
    findings = Findings(folder)
    if issubclass(kind, FolderDataset):
        file = _read_file(folder, findings)
        if file is None:
            return findings.report(folder.name, {}, {}, {})
        _check_classes(file, findings)
        described: Description = kind.described_by(file, folder)
    else:
        described = kind.describe(folder)
    splits = _open_splits(described, findings)
    _check_ids(splits, findings)
    check = _SampleCheck(findings, sensors)
    total, done = sum(len(dataset) for dataset in splits.values()), 0
    for dataset in splits.values():
        for index in range(len(dataset)):
            check(dataset, index)
            done += 1
            if progress:
                progress(done, total)
    check.finish(splits)
    return findings.report(
        described.name if splits else folder.name,
        {split: len(dataset) for split, dataset in splits.items()},
        {
            split: {name: len(dataset.indices_with(name)) for name in dataset.modalities}
            for split, dataset in splits.items()
        },
        {split: check.shares(dataset) for split, dataset in splits.items()},
    )


def _read_file(folder: Path, findings: Findings) -> DataSetFile | None:
    """dataset.toml with every problem noted; without unknown names, so that the rest can be checked."""
    path = folder / FILE_NAME
    try:
        values = read_toml(path)
    except ArmsegError as error:
        findings.add("dataset_file", error.what, path, hint=error.hint)
        return None
    try:
        return DataSetFile.model_validate(values)
    except ValidationError as error:
        for text in problems(error):
            findings.add("dataset_file", text, path)
        try:
            return DataSetFile.model_validate(drop_unknown_names(values, error))
        except ValidationError:
            return None


def _check_classes(file: DataSetFile, findings: Findings) -> None:
    by_color: dict[tuple[int, int, int], list[str]] = {}
    for info in file.class_infos:
        by_color.setdefault(info.color, []).append(info.name)
    painted = file.label is not None and file.label.encoding == "color"
    for color, names in by_color.items():
        if len(names) > 1:
            findings.add(
                "label_colors" if painted else "same_color",
                f"classes {', '.join(names)} have the same color {list(color)}",
                FILE_NAME,
            )
    if file.ignore_index < len(file.classes):
        findings.add(
            "ignore_is_class",
            f"ignore_index {file.ignore_index} is also the index of class "
            f"'{file.classes[file.ignore_index].name}', which is therefore never learned",
            FILE_NAME,
        )
    if file.label is not None and len(file.classes) == 1:
        findings.add("one_class", one_class(file.classes[0].name).what, FILE_NAME)
    if file.label is None:
        findings.add("no_labels", "dataset.toml has no [label]: good for prediction only", FILE_NAME)


def _open_splits(described: Description, findings: Findings) -> dict[str, DataSet]:
    splits, folder = {}, described.root
    for split in described.splits:
        try:
            splits[split] = open_dataset(described, split)
        except ArmsegError as error:
            what = error.what if f"'{split}'" in error.what else f"split '{split}': {error.what}"
            findings.add("split", what, error.where or folder, hint=error.hint)
    if splits and "train" not in splits:
        findings.add("no_train", f"there is no split 'train' (only {', '.join(splits)})", folder)
    return splits


def _check_ids(splits: dict[str, DataSet], findings: Findings) -> None:
    """Ids given twice, in two splits or in none."""
    for split, dataset in splits.items():
        for sample_id, count in Counter(dataset.ids).items():
            if count > 1:
                findings.add("id_twice", f"ids given more than once in split '{split}'", sample_id)
    names = list(splits)
    for n, first in enumerate(names):
        for second in names[n + 1 :]:
            what = f"ids in both '{first}' and '{second}': the score would be wrong"
            for sample_id in sorted(set(splits[first].ids) & set(splits[second].ids)):
                findings.add("leak", what, sample_id)
    listed = {sample_id for dataset in splits.values() for sample_id in dataset.ids}
    for dataset in list(splits.values())[:1]:
        if isinstance(dataset, FolderDataset):
            _check_unlisted(dataset, listed, findings)


def _check_unlisted(dataset: FolderDataset, listed: set[str], findings: Findings) -> None:
    """Files of samples that are in no split, and labels without an image."""
    images = ids_on_disk(dataset.root, dataset.file.rgb.path)
    for sample_id in sorted(images - listed):
        findings.add("unlisted", "images that are in no split", dataset.rgb_path(sample_id))
    if dataset.file.label is not None:
        for sample_id in sorted(ids_on_disk(dataset.root, dataset.file.label.path) - images):
            findings.add("label_without_rgb", "labels without an RGB image", dataset.label_path(sample_id))


class _SampleCheck:
    """Checks samples one by one and keeps what can only be judged over all of them."""

    def __init__(self, findings: Findings, sensors: bool) -> None:
        self.findings, self.sensors = findings, sensors
        self.labels: dict[str, LabelTally] = {}  # split -> what its labels hold
        self.formats: dict[str, dict[str, list[Path]]] = {}  # kind of file -> format -> files
        self.images: dict[bytes, tuple[str, Path]] = {}  # hash of an image -> first split and file

    def __call__(self, dataset: DataSet, index: int) -> None:
        sample_id = dataset.ids[index]
        rgb, label = dataset.rgb_path(sample_id), dataset.label_path(sample_id)
        sensors = {name: dataset.sensor_path(sample_id, name) for name in dataset.modalities}
        if not rgb.exists():
            absent = not any(path is not None and path.exists() for path in (label, *sensors.values()))
            self.findings.add(
                "absent" if absent else "missing_rgb",
                f"ids in split '{dataset.split}' without any file"
                if absent
                else "samples without an RGB image",
                sample_id if absent else rgb,
                hint=_template_hint(dataset, "rgb", sample_id),
            )
            return
        size = self._image(dataset, rgb)
        if label is not None:
            self._label(dataset, index, label, size)
        for name, path in sensors.items():
            if not path.exists():
                self.findings.add("missing_sensor", f"samples without {name}", path)
            elif self.sensors:
                self._sensor(dataset, sample_id, name, path, size)

    def _image(self, dataset: DataSet, path: Path) -> tuple[int, int] | None:
        try:
            image = read_rgb(path)
        except ArmsegError as error:
            self.findings.add("unreadable_rgb", f"RGB images: {error.what}", path)
            return None
        self.formats.setdefault("RGB images", {}).setdefault(f"{8 * image.itemsize} bit", []).append(path)
        split, first = self.images.setdefault(hashlib.sha256(image.tobytes()).digest(), (dataset.split, path))
        if first != path:
            kind = "same_image" if split == dataset.split else "leak"
            self.findings.add(
                kind,
                "the same picture under two names"
                if kind == "same_image"
                else f"the same picture in '{split}' and '{dataset.split}'",
                path,
            )
        cropped = dataset.crop(image.transpose(2, 0, 1))
        return cropped.shape[1], cropped.shape[2]

    def _label(self, dataset: DataSet, index: int, path: Path, size: tuple[int, int] | None) -> None:
        if not path.exists():
            withheld = dataset.split in UNLABELED_SPLITS
            self.findings.add(
                "withheld_label" if withheld else "missing_label",
                f"images without a label in split '{dataset.split}'",
                path,
                hint=_template_hint(dataset, "label", dataset.ids[index]),
            )
            return
        try:
            label = dataset.read_mapped_label(path)
        except ArmsegError as error:
            self.findings.add("unreadable_label", f"labels: {error.what}", path, hint=error.hint)
            return
        if size is not None and label.shape != size:
            self.findings.add("size", "labels of another size than the RGB image", path)
        self.labels.setdefault(dataset.split, LabelTally()).add(dataset, path, label)
        if (label == dataset.ignore_index).all():
            self.findings.add("all_ignored", "labels in which every pixel is ignored", path)

    def _sensor(
        self, dataset: DataSet, sample_id: str, name: str, path: Path, size: tuple[int, int] | None
    ) -> None:
        if path.suffix.lower() in PICTURE_SUFFIXES and (found := picture_format(path)):
            text, (height, width) = found
            self.formats.setdefault(f"{name} pictures", {}).setdefault(text, []).append(path)
            if size and abs(width / height / (size[1] / size[0]) - 1) > 0.02:
                what = f"{name} pictures of another aspect ratio than the RGB image"
                self.findings.add("aspect", what, path)
        try:
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("always")
                tensor = dataset.make_sensor(
                    path,
                    name,
                    size or (32, 32),
                    dataset.time_us(sample_id),
                    dataset.sensor_options(sample_id, name),
                ).frames[0]
        except ArmsegError as error:
            hint = error.hint or f"{_inspect(dataset, sample_id, name)} says more"
            self.findings.add("unreadable_sensor", f"{name}: {error.what}", path, hint=hint)
            return
        for note in notes:
            what, example = f"{name}: notes of the reader", f"{sample_id}: {note.message}"
            hint = f"the reader repaired or assumed something: {_inspect(dataset, sample_id, name)} says more"
            self.findings.add("sensor_note", what, example, hint=hint)
        against = _against_range(dataset, sample_id, name, tensor)
        for what in against:
            self.findings.add("sensor_range", f"{name}: {what}", path)
        if not against and tensor.min() == tensor.max():
            self.findings.add("empty_sensor", f"{name} frames with one value all over", path)

    def finish(self, splits: dict[str, DataSet]) -> None:
        """What is judged over all samples."""
        for what, formats in self.formats.items():
            usual = max(formats, key=lambda text: len(formats[text]))
            for text, paths in formats.items():
                for path in paths if text != usual else ():
                    self.findings.add("format", f"{what} of {text}, where most are {usual}", path)
        for dataset in list(splits.values())[:1]:
            self._sensors_at_all(dataset, splits)
            merged = LabelTally()
            for tally in self.labels.values():
                merged.merge(tally)
            self._note(coding_findings(dataset, merged))
        for split, tally in self.labels.items():
            self._note(split_findings(splits[split], tally))
            absent = [info.name for i, info in enumerate(splits[split].classes) if not tally.pixels[i]]
            if absent:
                self.findings.add("empty_class", f"classes without a pixel in split '{split}'", *absent)

    def _note(self, found: Iterable[LabelFinding]) -> None:
        for finding in found:
            self.findings.add(finding.kind, finding.what, *finding.examples, hint=finding.hint)

    def _sensors_at_all(self, dataset: DataSet, splits: dict[str, DataSet]) -> None:
        for name in dataset.modalities:
            if not any(each.indices_with(name) for each in splits.values()):
                path = dataset.sensor_path(dataset.ids[0], name)
                hint = _template_hint(dataset, name, dataset.ids[0])
                self.findings.add("no_sensor", f"not one sample has {name}", path, hint=hint)

    def shares(self, dataset: DataSet) -> dict[str, Any]:
        """Label histogram of a split.

        The share of each class, of ignored and of unknown pixels, and of the labels that hold each class.
        """
        tally = self.labels.get(dataset.split, LabelTally())
        pixels, total = tally.pixels, tally.total
        if not total:
            return {}
        names = {i: info.name for i, info in enumerate(dataset.classes) if i != dataset.ignore_index}
        known = {name: pixels[i] / total for i, name in names.items()}
        ignored = pixels[dataset.ignore_index] / total
        return {
            "pixels": total,
            "classes": known,
            "images": {name: tally.images[i] / tally.labels for i, name in names.items()},
            "ignored": ignored,
            "unknown": (total - sum(pixels[i] for i in {*names, dataset.ignore_index})) / total,
        }


def _template_hint(dataset: DataSet, what: str, sample_id: str) -> str | None:
    """The path to write for "rgb", "label" or a sensor, where the ids do not fit the one that is written."""
    if not isinstance(dataset, FolderDataset):
        return None
    row = {"rgb": dataset.file.rgb, "label": dataset.file.label}.get(what) or dataset.file.modalities.get(
        what
    )
    found = template_advice(row.path, sample_id) if row else None
    table = what if what in ("rgb", "label") else f"modalities.{what}"
    return found and f"under [{table}] in {FILE_NAME}: {found}"


def _against_range(dataset: DataSet, sample_id: str, name: str, tensor: np.ndarray) -> list[str]:
    """What the model tensor of a declared sensor says against the range that is declared for it."""
    declaration, declared = declaration_of(name), dataset.sensor_options(sample_id, name).get("range")
    given = declaration.parse_options({"range": declared}).range if declaration else None
    return out_of_range(tensor, declaration.channels, given) if declaration and given else []


def _inspect(dataset: DataSet, sample_id: str, name: str) -> str:
    """The command that describes a sensor file of a sample as the data set reads it."""
    options = dataset.sensor_options(sample_id, name)
    if declaration_of(name):  # known to its data set only: outside it is a picture of any bands
        name = IMAGE.name
    flags = advice.sensor_flags(name, options=options)
    return advice.command("inspect", dataset.sensor_path(sample_id, name), *flags)
