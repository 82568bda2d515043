"""A data set described by `dataset.toml`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from armseg_core.data.dataset import DataSet
from armseg_core.data.dataset_file import FILE_NAME, DataSetFile, parse_dataset_file, path_options
from armseg_core.data.description import Description
from armseg_core.errors import ArmsegError, DataSetError
from armseg_core.files.pictures import read_color_label, read_label
from armseg_core.files.tensor_file import SensorTensor
from armseg_core.files.text import read_text


@dataclass(frozen=True)
class FolderDescription(Description):
    """file: what dataset.toml says. times: id -> microseconds; empty where it names no file of times."""

    file: DataSetFile
    times: dict[str, int]


class FolderDataset(DataSet):
    """A folder with a dataset.toml (see `dataset_file.py`). Arguments and use as in `DataSet`."""

    title, layout = "folder data set", FILE_NAME
    description: FolderDescription

    @classmethod
    def matches(cls, root: Path) -> bool:
        return (root / FILE_NAME).is_file()

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> FolderDescription:
        return cls.described_by(parse_dataset_file(Path(root) / FILE_NAME), root)

    @classmethod
    def described_by(cls, file: DataSetFile, root: str | os.PathLike[str]) -> FolderDescription:
        """The description of a folder whose dataset.toml is at hand."""
        folder = Path(root)
        return FolderDescription(
            kind=cls,
            root=folder,
            name=file.name,
            classes=file.class_infos,
            ignore_index=file.ignore_index,
            modalities=tuple(file.modalities),
            splits=tuple(file.splits),
            declared=file.declared,
            file=file,
            times=read_times(folder / file.times.path) if file.times else {},
        )

    @property
    def file(self) -> DataSetFile:
        """What dataset.toml says."""
        return self.description.file

    def list_ids(self, split: str) -> list[str]:
        lines = read_ids(self.root / self.file.splits[split])
        return [id_in_line(line, (self.file.rgb.path,)) for line in lines]

    def rgb_path(self, sample_id: str) -> Path:
        return self._path(self.file.rgb.path, sample_id)

    def label_path(self, sample_id: str) -> Path | None:
        return self._path(self.file.label.path, sample_id) if self.file.label else None

    def sensor_path(self, sample_id: str, modality: str) -> Path:
        return self._path(self.file.modalities[modality].path, sample_id)

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        options = self.file.modalities[modality].options
        files = path_options(modality)
        return {
            name: self._path(value, sample_id) if name in files and isinstance(value, str) else value
            for name, value in options.items()
        }

    def time_us(self, sample_id: str) -> int | None:
        if not self.description.times:
            return None
        if sample_id not in self.description.times:
            raise DataSetError(
                f"no time for sample '{sample_id}'",
                where=self.root / FILE_NAME,
                expected="a line 'id microseconds' in the file named under [times]",
            )
        return self.description.times[sample_id]

    def read_stored_label(self, path: Path) -> np.ndarray:
        if not self.is_painted:
            return read_label(path)
        label = read_color_label(path, self.listed_colors)
        label[label >= len(self.classes)] = self.ignore_index
        return label

    @property
    def is_painted(self) -> bool:
        """Whether labels hold the colors of the classes, not their indices."""
        return self.file.label is not None and self.file.label.encoding == "color"

    @property
    def listed_colors(self) -> np.ndarray:
        ignored = self.file.label.ignore_colors if self.file.label else ()
        return np.concatenate([self.palette, np.array(ignored, np.uint8).reshape(-1, 3)])

    @property
    def label_map(self) -> dict[int, int]:
        """Stored value -> class index or ignore_index, as dataset.toml says."""
        return self.file.label.map if self.file.label else {}

    def map_label(self, stored: np.ndarray) -> np.ndarray:
        if not self.label_map:
            return stored
        out = stored.astype(np.int64)
        for old, new in self.label_map.items():
            out[stored == old] = new
        return out

    def make_sensor(
        self, path: Path, modality: str, size: tuple[int, int], time_us: int | None, options: dict[str, Any]
    ) -> SensorTensor:
        """As in `DataSet`; advice to give a flag becomes advice for dataset.toml, where the option stands."""
        try:
            return super().make_sensor(path, modality, size, time_us, options)
        except ArmsegError as error:
            if not (error.hint or "").startswith("--"):
                raise
            hint = (
                f"{error.hint}, as options = {{ name = value }} under [modalities.{modality}] in {FILE_NAME}"
            )
            what, where, expected = error.what, error.where, error.expected
            raise type(error)(what, where=where, expected=expected, hint=hint) from error

    def caption(self, index: int) -> str | None:
        if self.file.caption is None:
            return None
        path = self._path(self.file.caption.path, self.ids[index])
        return read_text(path).strip() or None if path.is_file() else None

    def _path(self, template: str, sample_id: str) -> Path:
        return self.root / fill(template, sample_id)


def fill(template: str, sample_id: str) -> str:
    """The path of a sample: {id}, {parent} and {stem} replaced."""
    path = PurePosixPath(sample_id)
    return template.format(id=sample_id, parent=path.parent, stem=path.name)


def ids_on_disk(root: Path, template: str) -> set[str]:
    """The ids of all files that fit a path template.

    A template without {id} must name {parent} before {stem}; the two make the id.
    """
    paths = {path for pattern in _patterns(template) for path in root.glob(pattern)}
    found = {id_of_path(template, path.relative_to(root).as_posix()) for path in paths}
    return {sample_id for sample_id in found if sample_id is not None}


def id_of_path(template: str, relative: str) -> str | None:
    """The id by which a path template gives a path; None where it does not fit."""
    expression = re.escape(template)
    for name, part in (("id", "(?P<id>.+)"), ("parent", "(?P<parent>.+)"), ("stem", "(?P<stem>[^/]+)")):
        expression = expression.replace(re.escape(f"{{{name}}}"), part, 1)
        expression = expression.replace(re.escape(f"{{{name}}}"), f"(?P={name})")
    match = re.fullmatch(expression, relative)
    if not match:
        return None
    names = match.groupdict()
    stem = names.get("stem", "")
    sample_id = names.get("id") or (f"{names['parent']}/{stem}" if names.get("parent") else stem)
    return sample_id if fill(template, sample_id) == relative else None


def id_in_line(line: str, templates: Iterable[str]) -> str:
    """The id in a line of a list: the line itself, or where its first word is the path of an image, its id.

    Such lines are 'RGB/0.jpg Label/0.png' (CMX, DFormer).

    Args:
        templates: paths of the image.
    """
    word = line.split(maxsplit=1)[0]
    ids = (id_of_path(template, word) for template in templates)
    return next((found for found in ids if found), line)


def _patterns(template: str) -> list[str]:
    """Patterns for `Path.glob` that together find every file of a path template, and others.

    An {id} or {parent} may hold several folders; `**` stands for any number of them, but only as a whole part
    of a path.
    """
    found = [""]
    for part in PurePosixPath(template).parts:
        head, *rest = re.split(r"\{(?:id|parent|stem)\}", part)
        head, tail = glob.escape(head), glob.escape(rest[-1]) if rest else ""
        if not rest:
            choices = [head]
        elif not re.search(r"\{(id|parent)\}", part):
            choices = [f"{head}*{tail}"]
        else:
            choices = [f"{head}*{tail}", f"{head}*/**/*{tail}"] if head else [f"**/*{tail}"]
        found = [f"{before}/{choice}".lstrip("/") for before in found for choice in choices]
    return found


def template_advice(template: str, sample_id: str) -> str | None:
    """What to write instead of a path such as "left/L_{id}.jpg" for ids with folders.

    None where the id does not stand behind the beginning of a file's name.
    """
    part = next((part for part in PurePosixPath(template).parts if "{id}" in part), "")
    if "/" not in sample_id or not part or part.startswith("{id}"):
        return None
    wanted = template.replace(part, "{parent}/" + part.replace("{id}", "{stem}"), 1)
    id_path = PurePosixPath(sample_id)
    return (
        f'path = "{wanted}", which for the id {sample_id} is {fill(wanted, sample_id)} '
        f"({{parent}} is {id_path.parent}, {{stem}} is {id_path.name})"
    )


def read_ids(path: Path) -> list[str]:
    """The ids of a split file: one per line, blank lines and lines that begin with # left out.

    Ids are paths with '/': a backslash is one, too, since lists are also made on Windows.

    Raises:
        InputError: it does not exist or may not be read. FormatError: not UTF-8.
        DataSetError: an id that leaves the folder.
    """
    ids = [line.strip().replace("\\", "/") for line in read_text(path).splitlines()]
    ids = [line for line in ids if line and not line.startswith("#")]
    for sample_id in ids:
        pure = PurePosixPath(sample_id)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataSetError(f"id '{sample_id}' leaves the data set's folder", where=path)
    return ids


def read_times(path: Path) -> dict[str, int]:
    """'id microseconds' per line -> id -> time; a backslash in an id is '/', as in `read_ids`.

    Raises:
        InputError: it does not exist or may not be read. FormatError: not UTF-8.
        DataSetError: a line of another form.
    """
    times = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            sample_id, time = line.rsplit(maxsplit=1)
            times[sample_id.strip().replace("\\", "/")] = int(time)
        except ValueError as error:
            raise DataSetError(
                f"line {number} is {line.strip()!r}", where=path, expected="'id microseconds'"
            ) from error
    return times
