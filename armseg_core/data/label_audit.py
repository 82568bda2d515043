"""What the labels of a split hold, and what of it would be lost: `check`, `train` and `eval` judge alike."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armseg_core import advice
from armseg_core.data.check_report import KINDS
from armseg_core.data.dataset import DataSet
from armseg_core.data.folder import FolderDataset
from armseg_core.data.label_colors import PNG_ADVICE, UnknownColors
from armseg_core.errors import ArmsegWarning, DataSetError
from armseg_core.files.pictures import UNKNOWN_COLOR, picture_name

# Masks of two values have strays where they were drawn, scaled or saved: judged is what nearly all pixels
# say, and a class that is really there has more than a stray's share.
TWO_VALUES, STRAYS = 0.99, 0.001
# More than half: what is learned and scored is then decided by the smaller part of each picture. Sparse
# labels (scribbles, projected points) are such and are meant so: a warning.
MOSTLY_IGNORED = 0.5
MAX_VALUES = 8  # unknown label values listed one by one
AUDITED = 64  # labels of a split looked at before training or evaluation, evenly chosen; a second or two


@dataclass
class LabelTally:
    """Counts over labels after mapping.

    labels: number of them. pixels: value -> pixels. images: value -> labels that hold it. first: the first
    label counted. unknown: value that names no class -> files. colors: unknown colors of painted labels,
    and refused, tolerated: the files with more and with fewer of them than are allowed.
    """

    labels: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    first: Path | None = None
    unknown: dict[int, list[Path]] = field(default_factory=dict)
    colors: UnknownColors = field(default_factory=UnknownColors)
    refused: list[Path] = field(default_factory=list)
    tolerated: list[Path] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Pixels of all labels."""
        return sum(self.pixels.values())

    def add(self, dataset: DataSet, path: Path, label: np.ndarray) -> None:
        """Count a label (H, W) int64 as `read_mapped_label` gives it."""
        values, counts = (array.tolist() for array in np.unique(label, return_counts=True))
        self.labels += 1
        self.first = self.first or path
        self.pixels.update(dict(zip(values, counts, strict=True)))
        self.images.update(values)
        self.colors.pixels += label.size
        for value, count in zip(values, counts, strict=True):
            if value == UNKNOWN_COLOR:
                self.colors.add(path, dataset.listed_colors)
                limit = dataset.unknown_colors_allowed * label.size
                (self.refused if count > limit else self.tolerated).append(path)
            elif value != dataset.ignore_index and not 0 <= value < len(dataset.classes):
                self.unknown.setdefault(value, []).append(path)

    def merge(self, other: LabelTally) -> None:
        """Add the counts of another tally."""
        self.labels += other.labels
        self.pixels.update(other.pixels)
        self.images.update(other.images)
        self.first = self.first or other.first
        for value, paths in other.unknown.items():
            self.unknown.setdefault(value, []).extend(paths)
        self.colors.counts.update(other.colors.counts)
        self.colors.pixels += other.colors.pixels
        self.colors.jpeg |= other.colors.jpeg
        self.refused += other.refused
        self.tolerated += other.tolerated

    def classes_in(self, dataset: DataSet) -> list[int]:
        """Indices of the classes that occur and count, in order."""
        return [i for i in range(len(dataset.classes)) if self.pixels[i] and i != dataset.ignore_index]


@dataclass(frozen=True)
class LabelFinding:
    """A problem of labels. kind: of `check_report.KINDS`. hint: None where that of the kind says it."""

    kind: str
    what: str
    examples: tuple[object, ...]
    hint: str | None = None


def coding_findings(dataset: DataSet, tally: LabelTally) -> Iterator[LabelFinding]:
    """Values and colors that no class has, judged over all labels of a data set."""
    trap = _two_values(dataset, tally)
    if trap is not None:
        yield trap
    else:
        yield from _unknown_values(dataset, tally)
    for kind, files in (("unknown_color", tally.refused), ("few_unknown_colors", tally.tolerated)):
        if files:
            what, hint = tally.colors.describe(dataset.classes), tally.colors.advice(dataset.classes)
            yield LabelFinding(kind, what, tuple(files), hint)


def split_findings(dataset: DataSet, tally: LabelTally) -> Iterator[LabelFinding]:
    """What makes a split useless or doubtful for learning or scoring.

    Where values or colors are not understood, those are the problem, and this is not judged.
    """
    if not tally.labels or tally.unknown or tally.refused or _two_values(dataset, tally):
        return
    split, found = f"split '{dataset.split}'", tally.classes_in(dataset)
    ignored = (tally.pixels[dataset.ignore_index] + tally.pixels[UNKNOWN_COLOR]) / tally.total
    if not found:
        yield LabelFinding("no_labeled_pixel", f"no labeled pixel in {split}", (tally.first,))
        return
    if ignored > MOSTLY_IGNORED:
        what = f"{100 * ignored:.1f} % of the label pixels of {split} are ignored"
        yield LabelFinding("mostly_ignored", what, (tally.first,))
    if len(found) == 1 and len(dataset.classes) > 1:
        kind = "single_class" if dataset.split == "train" else "single_class_scored"
        name = dataset.classes[found[0]].name
        yield LabelFinding(kind, f"the labels of {split} hold one class only: {name}", (tally.first,))


def _two_values(dataset: DataSet, tally: LabelTally) -> LabelFinding | None:
    """Masks of 0 and another value, such as 255, that were meant as classes 0 and 1."""
    if not isinstance(dataset, FolderDataset) or dataset.is_painted or len(dataset.classes) < 2:
        return None
    last, ignore, mapped = len(dataset.classes) - 1, dataset.ignore_index, dataset.label_map
    outside = {v: n for v, n in tally.pixels.items() if v == ignore or not 0 <= v <= last}
    outside = {v: n for v, n in outside.items() if v not in mapped and v not in mapped.values()}
    if not outside or not tally.pixels[0] or ignore == 0:
        return None
    value = max(outside, key=lambda v: outside[v])
    classes = sum(tally.pixels[i] for i in range(1, last + 1) if i != ignore)
    both = (tally.pixels[0] + outside[value]) / tally.total
    if both < TWO_VALUES or classes > STRAYS * tally.total:
        return None
    role = "is ignored" if value == ignore else "names no class"
    often = "hardly" if classes else "never"
    only = "only" if both == 1 else "hardly anything but"
    what = f"labels hold {only} 0 and {value}; {value} {role}: class 1 "
    what += f"('{dataset.classes[1].name}') {often} occurs"
    table = ", ".join(f"{old} = {new}" for old, new in {**mapped, value: 1}.items())
    hint = f"map = {{ {table} }} under [label] in dataset.toml ({value} = {ignore} if it is to be ignored)"
    return LabelFinding("trap_0_255", what, (tally.first,), hint)


def _unknown_values(dataset: DataSet, tally: LabelTally) -> Iterator[LabelFinding]:
    count = len(dataset.classes)
    known = f"0 to {count - 1}, {dataset.ignore_index} = ignore"
    if len(tally.unknown) > MAX_VALUES:
        files = sorted({path for paths in tally.unknown.values() for path in paths})
        what = f"{len(tally.unknown)} label values, {min(tally.unknown)} to {max(tally.unknown)}, "
        hint = PNG_ADVICE if picture_name(files[0]) == "JPEG" else None
        yield LabelFinding("label_value", f"{what}name no class ({known})", tuple(files), hint)
        return
    for value, paths in sorted(tally.unknown.items()):
        hint = f"map = {{ {value} = {dataset.ignore_index} }} under [label] in dataset.toml ignores the value"
        if value == count:
            hint = (
                "if labels count from 1: map = { 0 = 255, 1 = 0, 2 = 1, ... } under [label] in dataset.toml"
            )
        if picture_name(paths[0]) == "JPEG":
            hint = PNG_ADVICE
        yield LabelFinding("label_value", f"label value {value} names no class ({known})", tuple(paths), hint)


# -- before training and evaluation


def audit_labels(dataset: DataSet) -> None:
    """Look at some labels of a split before they are trained on or scored; warn of what would be lost.

    AUDITED evenly chosen labels are read, and the others too while fewer than two classes were found.

    Raises:
        DataSetError: labels that would be thrown away, or of which nothing can be learned.
        InputError, FormatError: a label that cannot be read.
    """
    if len(dataset.classes) == 1 and dataset.split == "train":
        finding = one_class(dataset.classes[0].name)
        raise _error(dataset, finding)
    tally = LabelTally()
    for index in _order(len(dataset)):
        if tally.labels >= AUDITED and len(tally.classes_in(dataset)) > 1:
            break
        path = dataset.label_path(dataset.ids[index])
        if path is not None and path.exists():
            tally.add(dataset, path, dataset.read_mapped_label(path))
    findings = (*coding_findings(dataset, tally), *split_findings(dataset, tally))
    for finding in findings:
        if KINDS[finding.kind].error:
            raise _error(dataset, finding)
    for finding in findings:
        hint = f". Try: {finding.hint}" if finding.hint else ""
        where = f"{dataset.root}, split '{dataset.split}'"
        warnings.warn(ArmsegWarning(f"{where}: {finding.what}{hint}"), stacklevel=2)


def one_class(name: str) -> LabelFinding:
    """The finding that a class list holds nothing to tell apart."""
    return LabelFinding("one_class", f"the class list has one class only: {name}", ())


def _order(count: int) -> Iterable[int]:
    """Every number below `count`, AUDITED evenly chosen ones first."""
    chosen = list(dict.fromkeys(np.linspace(0, count - 1, min(count, AUDITED)).round().astype(int).tolist()))
    return (*chosen, *sorted(set(range(count)) - set(chosen)))


def _error(dataset: DataSet, finding: LabelFinding) -> DataSetError:
    check = advice.command("check", dataset.root)
    return DataSetError(
        finding.what,
        where=finding.examples[0] if finding.examples else dataset.root,
        hint=finding.hint or f"{KINDS[finding.kind].hint}; {check} says more",
    )
