"""What a check found: problems, grouped and counted, with example files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_EXAMPLES = 5  # of a kind of problem: enough to see what they share, few enough for a screen

# kind of problem -> (is an error, what to do)
KINDS: dict[str, tuple[bool, str]] = {
    "dataset_file": (True, "correct dataset.toml"),
    "split": (True, "correct the split's file, or its line under [splits]"),
    "no_train": (False, "evaluation is possible, training is not"),
    "no_labels": (False, "add [label] to train"),
    "leak": (True, "keep each sample in one split"),
    "id_twice": (False, "remove the repeated lines"),
    "same_image": (False, "remove one of them"),
    "absent": (True, "remove the ids from the split's file, or add the files"),
    "unlisted": (False, "add their ids to a split's file, or leave them unused"),
    "missing_rgb": (True, "add the images, or remove the ids from the split's file"),
    "label_without_rgb": (False, "they are not used"),
    "missing_label": (True, "add the labels, or remove the ids from the split's file"),
    "withheld_label": (False, "the split can be predicted, not evaluated"),
    "missing_sensor": (False, "allowed: such samples are not used with that sensor"),
    "no_sensor": (True, "correct the sensor's path in dataset.toml, or remove the sensor"),
    "unreadable_rgb": (True, "replace the files"),
    "unreadable_label": (True, "replace the files"),
    "unreadable_sensor": (True, "armseg inspect FILE says more"),
    "size": (True, "label and image must have the same size"),
    "aspect": (False, "they are stretched to the image: are they registered to it?"),
    "format": (False, "mixed files often come from a lossy step: convert all alike"),
    "sensor_note": (False, "the reader repaired or assumed something: armseg inspect FILE says more"),
    "empty_sensor": (False, "a lens cap, an empty window or a wrong unit?"),
    "label_value": (True, "correct the labels or the class list"),
    "label_colors": (True, "painted labels need a color of its own for each class"),
    "same_color": (False, "they look alike in pictures"),
    "ignore_is_class": (False, "choose an ignore_index outside the class list, such as 255"),
    "trap_0_255": (True, "map = { 255 = 1 } under [label] in dataset.toml"),
    "all_ignored": (False, "nothing is learned from them"),
    "empty_class": (False, "the class cannot be learned or scored there"),
}


@dataclass(frozen=True)
class Problem:
    """One group of like problems. examples: the first few files or ids it concerns."""

    kind: str
    error: bool
    what: str
    count: int
    examples: tuple[str, ...]
    hint: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    splits: name -> number of samples. sensors: split -> sensor -> number of samples that have it.
    labels: split -> {"pixels", "classes": share per class, "ignored", "unknown"}; {} without labels.
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
        new = {"count": 0, "examples": [], "hint": hint or KINDS[kind][1]}
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
            Problem(kind, KINDS[kind][0], what, group["count"], tuple(group["examples"]), group["hint"])
            for (kind, what), group in self._groups.items()
        ]
        found.sort(key=lambda problem: not problem.error)
        return Report(str(self.root), name, splits, sensors, labels, tuple(found))
