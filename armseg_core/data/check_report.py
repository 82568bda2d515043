"""What a check found: problems, grouped and counted, with example files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_EXAMPLES = 5  # of a kind of problem: enough to see what they share, few enough for a screen


@dataclass(frozen=True)
class Kind:
    """error: training stops, or its result is wrong. hint: what to do. then: what armseg does until then."""

    error: bool
    hint: str
    then: str


_STOP = "train and eval stop at the first of them"
KINDS: dict[str, Kind] = {
    "dataset_file": Kind(True, "correct dataset.toml", "no other command opens the data set"),
    "split": Kind(True, "correct the split's file, or its line under [splits]", "what needs the split stops"),
    "no_train": Kind(False, "add a split 'train'", "eval works, train stops"),
    "no_labels": Kind(False, "add [label] to train", "predict works, train and eval stop"),
    "leak": Kind(True, "keep each sample in one split", "all are used: the score is too good"),
    "id_twice": Kind(False, "remove the repeated lines", "such samples are used once for each line"),
    "same_image": Kind(False, "remove one of them", "each of them is used"),
    "absent": Kind(True, "remove the ids from the split's file, or add the files", _STOP),
    "unlisted": Kind(False, "add their ids to a split's file, or leave them unused", "they are not used"),
    "missing_rgb": Kind(True, "add the images, or remove the ids from the split's file", _STOP),
    "label_without_rgb": Kind(False, "add the images, or delete the labels", "they are not used"),
    "missing_label": Kind(True, "add the labels, or remove the ids from the split's file", _STOP),
    "withheld_label": Kind(False, "evaluate another split", "eval of the split stops"),
    "missing_sensor": Kind(False, "add the files, or leave it so", "they are used for RGB alone"),
    "no_sensor": Kind(
        True, "correct the sensor's path in dataset.toml, or remove the sensor", "train with the sensor stops"
    ),
    "unreadable_rgb": Kind(True, "replace the files", _STOP),
    "unreadable_label": Kind(True, "replace the files", _STOP),
    "unreadable_sensor": Kind(True, "replace the files", "train and eval with the sensor stop"),
    "size": Kind(True, "label and image must have the same size", _STOP),
    "aspect": Kind(False, "are they registered to the image?", "they are stretched to the image"),
    "format": Kind(
        False, "mixed files often come from a lossy step: convert all alike", "each is read as it is"
    ),
    "sensor_note": Kind(False, "look at the file", "the note says what the reader did"),
    "empty_sensor": Kind(False, "a lens cap, an empty window or a wrong unit?", "they are used as they are"),
    "sensor_range": Kind(
        False,
        "correct range of the sensor's options in dataset.toml",
        "values outside of the range are clipped",
    ),
    "label_value": Kind(True, "correct the labels or the class list", _STOP),
    "label_colors": Kind(
        True, "give each class a color of its own", "the last of the classes gets the pixels"
    ),
    "same_color": Kind(False, "give each class a color of its own", "they look alike in pictures"),
    "ignore_is_class": Kind(
        False,
        "choose an ignore_index outside the class list, such as 255",
        "the class is neither learned nor scored",
    ),
    "one_class": Kind(True, "list what is not of the class, too, such as 'background'", "train stops"),
    "trap_0_255": Kind(True, "map = { 255 = 1 } under [label] in dataset.toml", "train and eval stop"),
    "unknown_color": Kind(True, "list the color in dataset.toml", _STOP),
    "few_unknown_colors": Kind(False, "list the color in dataset.toml", "these pixels are ignored"),
    "no_labeled_pixel": Kind(
        True, "correct the labels, or ignore_index in dataset.toml", "train and eval stop"
    ),
    "single_class": Kind(True, "add labels that hold another class", "train stops"),
    "single_class_scored": Kind(
        False, "add labels that hold another class", "a model that always says it scores 100 %"
    ),
    "mostly_ignored": Kind(
        False, "fine for sparse labels; else correct the labels", "learned and scored is the rest"
    ),
    "all_ignored": Kind(False, "label them, or remove the ids", "nothing is learned or scored there"),
    "empty_class": Kind(
        False, "add samples that hold it, or remove the class", "it is neither learned nor scored there"
    ),
}


@dataclass(frozen=True)
class Problem:
    """One group of like problems.

    examples: the first few files or ids it concerns. hint: what to do. then: what armseg does with them
    otherwise.
    """

    kind: str
    error: bool
    what: str
    count: int
    examples: tuple[str, ...]
    hint: str
    then: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    splits: name -> number of samples. sensors: split -> sensor -> number of samples that have it.
    labels: split -> {"pixels", "classes": share of the pixels per class, "images": share of the
    labels that hold it, "ignored", "unknown"}; {} without labels.
    """

    root: str
    name: str
    splits: dict[str, int]
    sensors: dict[str, dict[str, int]]
    labels: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.error)

    @property
    def ok(self) -> bool:
        """No errors; there may be warnings."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": self.ok, **asdict(self)}


class Findings:
    """Collects problems; like ones become one `Problem`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._groups: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, kind: str, what: str, *examples: object, hint: str | None = None) -> None:
        """Note one problem for each example."""
        new = {"count": 0, "examples": [], "hint": hint or KINDS[kind].hint}
        group = self._groups.setdefault((kind, what), new)
        group["count"] += max(1, len(examples))
        room = MAX_EXAMPLES - len(group["examples"])
        group["examples"] += [self._short(example) for example in examples[:room]]

    def _short(self, example: object) -> str:
        if isinstance(example, Path) and example.is_relative_to(self.root):
            return example.relative_to(self.root).as_posix()
        return str(example)

    def report(
        self,
        name: str,
        splits: dict[str, int],
        sensors: dict[str, dict[str, int]],
        labels: dict[str, dict[str, Any]],
    ) -> Report:
        """The report: errors first, then the order in which things were found."""
        found = [
            Problem(
                kind,
                KINDS[kind].error,
                what,
                group["count"],
                tuple(group["examples"]),
                group["hint"],
                KINDS[kind].then,
            )
            for (kind, what), group in self._groups.items()
        ]
        found.sort(key=lambda problem: not problem.error)
        return Report(str(self.root), name, splits, sensors, labels, tuple(found))
