"""The common ground of the public data sets: a table of files from which everything else follows.

No copy of them is at hand where armseg is built: the tests make tiny folders with the same layout. Layouts
and codings are those of published loaders; what was not verified on real files says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.data.dataset import DataSet
from armseg_core.data.description import Description
from armseg_core.data.folder import fill, id_in_line, read_ids
from armseg_core.data.sample import ClassInfo
from armseg_core.files.pictures import UNKNOWN_COLOR

Templates = tuple[str, ...]  # paths with {id}, {parent}, {stem}; the first that exists is used


def class_table(*rows: tuple[str, tuple[int, int, int]]) -> tuple[ClassInfo, ...]:
    """Classes in index order from (name, color)."""
    return tuple(ClassInfo(name, color) for name, color in rows)


@dataclass(frozen=True)
class Published:
    """What the authors say.

    citation: the paper. counts: split -> number of samples; where a data set comes in parts the key is
    'part/split'. protocol: how published figures are made: split, ignored labels, crop.
    """

    citation: str
    counts: dict[str, int]
    protocol: str


@dataclass(frozen=True)
class Files:
    """Where the files of a public data set are.

    sensors: modality -> templates. options: modality -> options of its conversion.

    markers: alternatives of files and folders that must be there; without any, an image that fits one of the
    patterns.
    lists: split -> file with one id (the first word) per line.
    patterns: split -> glob of the RGB images, whose ids `PublicDataSet.id_of` makes.
    zero_is_ignored: labels 0 and 255 are ignored and n is class n - 1.
    """

    rgb: Templates
    label: Templates
    sensors: dict[str, Templates]
    markers: tuple[tuple[str, ...], ...] = ()
    lists: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    zero_is_ignored: bool = False


class PublicDataSet(DataSet):
    """Everything follows from the table of files that a subclass sets."""

    published: Published
    files: Files

    @classmethod
    def matches(cls, root: Path) -> bool:
        if cls.files.markers:
            return any(all((root / part).exists() for part in parts) for parts in cls.files.markers)
        return bool(cls._splits_in(root))

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> Description:
        return replace(
            super().describe(root), modalities=tuple(cls.files.sensors), splits=cls._splits_in(Path(root))
        )

    @classmethod
    def _splits_in(cls, root: Path) -> tuple[str, ...]:
        listed = [split for split, name in cls.files.lists.items() if (root / name).is_file()]
        seen = [split for split, glob in cls.files.patterns.items() if any(root.glob(glob))]
        return (*listed, *seen)

    def list_ids(self, split: str) -> list[str]:
        if split in self.files.lists:
            lines = read_ids(self.root / self.files.lists[split])
            return [id_in_line(line, self.files.rgb).split()[0] for line in lines]
        images = self.root.glob(self.files.patterns[split])
        return sorted(self.id_of(path.relative_to(self.root)) for path in images)

    def id_of(self, rgb: Path) -> str:
        """The id of an RGB image found by `patterns`; its path is relative to the data set."""
        raise NotImplementedError

    def rgb_path(self, sample_id: str) -> Path:
        return self._first(self.files.rgb, sample_id)

    def label_path(self, sample_id: str) -> Path | None:
        return self._first(self.files.label, sample_id)

    def sensor_path(self, sample_id: str, modality: str) -> Path:
        return self._first(self.files.sensors[modality], sample_id)

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        return self.files.options.get(modality, {})

    def map_label(self, stored: np.ndarray) -> np.ndarray:
        if not self.files.zero_is_ignored:
            return stored
        label = stored.astype(np.int64)
        mapped = np.where((label == 0) | (label == 255), self.ignore_index, label - 1)
        return np.where(label == UNKNOWN_COLOR, label, mapped)

    def _first(self, templates: Iterable[str], sample_id: str) -> Path:
        paths = [self.root / fill(template, sample_id) for template in templates]
        return next((path for path in paths if path.exists()), paths[0])
