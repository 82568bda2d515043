"""The common ground of all data sets: load one sample, with every file on one pixel grid.

A data set says where files are and how labels are coded; this class decodes, checks, converts and resizes.
Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core import advice
from armseg_core.conversion import convert
from armseg_core.data.cache import TensorCache
from armseg_core.data.description import Description
from armseg_core.data.label_colors import UnknownColors
from armseg_core.data.sample import ClassInfo, Sample
from armseg_core.errors import DataSetError, UsageError
from armseg_core.files.pictures import UNKNOWN_COLOR, read_label, read_rgb, to_unit
from armseg_core.files.tensor_file import SensorTensor
from armseg_core.resizing import resize_image, resize_nearest
from armseg_core.sensors.modalities import Declaration, get_modality


class DataSet:
    """A split of a data set. Subclasses set the attributes of the first block and answer the questions.

    Args:
        description: what `describe` said about the folder.
        split: "train", "val", "test" or another name the data set lists.
        modalities: sensors to load; None loads every sensor the data set has, () loads RGB only.
        size: (H, W) that every sample is resized to; None keeps the size of each RGB image.
        cache_mb: bound in MiB of the in-memory cache of converted sensor frames (per process).
        cache_dir: folder that keeps converted sensor frames between runs.

    Raises:
        InputError, DataSetError: the split cannot be read.
        UsageError: an unknown split or sensor.
    """

    title: str  # of the kind of data set, for messages; no two kinds have the same
    layout: str  # what its folder is recognized by, in words
    # what a description holds; a kind that finds one of them in its folder overrides `describe`
    name: str
    classes: tuple[ClassInfo, ...]
    ignore_index: int = 255
    modalities: tuple[str, ...] = ()  # sensors the data set has
    declared: tuple[Declaration, ...] = ()  # those of the sensors that armseg has no name for
    splits: tuple[str, ...] = ()
    # Share of a painted label whose color no class has, before it is refused: what a few stray strokes of a
    # brush make, and less than one small object of a forgotten class.
    unknown_colors_allowed: float = 0.01

    def __init__(
        self,
        description: Description,
        split: str,
        modalities: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        cache_mb: float = 0,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.description, self.root, self.split, self.size = description, description.root, split, size
        self.name, self.classes = description.name, description.classes
        self.ignore_index = description.ignore_index
        self.modalities, self.splits = description.modalities, description.splits
        if split not in self.splits:
            raise UsageError(
                f"data set '{self.name}' has no split '{split}'",
                where=self.root,
                expected="one of " + ", ".join(self.splits),
            )
        self.selected = self._select(modalities)
        self.ids: tuple[str, ...] = tuple(self.list_ids(split))
        if not self.ids:
            raise DataSetError(
                f"split '{split}' of data set '{self.name}' is empty",
                where=self.root,
                hint=advice.command("check", self.root),
            )
        self._cache = TensorCache(cache_mb, cache_dir)
        self._with: dict[str, list[int]] = {}

    def _select(self, modalities: Sequence[str] | None) -> tuple[str, ...]:
        if modalities is None:
            return self.modalities
        names = tuple(dict.fromkeys(get_modality(name).name for name in modalities))
        for name in names:
            if name not in self.modalities:
                raise UsageError(
                    f"data set '{self.name}' has no {name}",
                    where=self.root,
                    expected="one of " + (", ".join(self.modalities) or "no sensor, RGB only"),
                )
        return names

    # -- what a data set must answer

    @classmethod
    def matches(cls, root: Path) -> bool:
        """Whether a folder looks like such a data set; cheap."""
        raise NotImplementedError

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> Description:
        """What the folder says about itself, without opening a split.

        Raises:
            InputError, DataSetError: the folder is not such a data set.
        """
        return Description(
            kind=cls,
            root=Path(root),
            name=cls.name,
            classes=cls.classes,
            ignore_index=cls.ignore_index,
            modalities=cls.modalities,
            splits=cls.splits,
            declared=cls.declared,
        )

    def list_ids(self, split: str) -> list[str]:
        """The ids of a split, in order."""
        raise NotImplementedError

    def rgb_path(self, sample_id: str) -> Path:
        """The RGB image."""
        raise NotImplementedError

    def label_path(self, sample_id: str) -> Path | None:
        """The label file; None when the data set has no labels."""
        raise NotImplementedError

    def sensor_path(self, sample_id: str, modality: str) -> Path:
        """The file or folder of a sensor (it need not exist)."""
        raise NotImplementedError

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        """Options of the conversion."""
        return {}

    def time_us(self, sample_id: str) -> int | None:
        """When in a recording the sample is; None for the end of the recording."""
        return None

    def read_stored_label(self, path: Path) -> np.ndarray:
        """The label as stored, (H, W) integers, before `map_label`.

        UNKNOWN_COLOR where it is painted in a color of no class.
        """
        return read_label(path)

    def map_label(self, stored: np.ndarray) -> np.ndarray:
        """Stored values -> class indices and ignore_index; UNKNOWN_COLOR stays."""
        return stored

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The part of an image or label (..., H, W) that the data set uses."""
        return array

    def caption(self, index: int) -> str | None:
        """A sentence about the scene; None when there is none."""
        return None

    # -- what everybody uses

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def palette(self) -> np.ndarray:
        """(number of classes, 3) uint8 colors."""
        return np.array([info.color for info in self.classes], np.uint8)

    @property
    def listed_colors(self) -> np.ndarray:
        """(N, 3) uint8: the colors that a painted label may have."""
        return self.palette

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.classes)

    def has(self, index: int, modality: str) -> bool:
        """Whether the sample has that sensor."""
        return modality in self.modalities and self.sensor_path(self.ids[index], modality).exists()

    def indices_with(self, modality: str | None) -> list[int]:
        """Numbers of the samples that have a sensor (None: all samples). Looked up once per sensor."""
        if modality is None:
            return list(range(len(self)))
        if modality not in self._with:
            self._with[modality] = [i for i in range(len(self)) if self.has(i, modality)]
        return list(self._with[modality])

    def load(self, index: int, modalities: Sequence[str] | None = None) -> Sample:
        """Sample number `index`, with the sensors that it has out of `modalities` (None: all selected ones).

        Raises:
            InputError, FormatError: a file is missing (rgb) or damaged.
            DataSetError: sizes differ or a label has values outside the class list.
        """
        sample_id = self.ids[index]
        rgb = self.crop(to_unit(read_rgb(self.rgb_path(sample_id))))
        native = (rgb.shape[1], rgb.shape[2])
        label = self.load_label(index)
        if label is not None and label.shape != native:
            raise DataSetError(
                f"the label is {label.shape[1]}x{label.shape[0]} and the RGB image {native[1]}x{native[0]}",
                where=self.label_path(sample_id),
                expected="the same size",
                hint=advice.command("check", self.root),
            )
        size = self.size or native
        wanted = self.selected if modalities is None else modalities
        present = [name for name in wanted if self.has(index, name)]
        sensors = {name: self._sensor(sample_id, name, size) for name in present}
        return Sample(
            id=sample_id,
            rgb=resize_image(rgb, size),
            label=None if label is None else resize_nearest(label, size),
            sensors=sensors,
        )

    def load_label(self, index: int) -> np.ndarray | None:
        """The label (H, W) int64 at its stored size, cropped; None when the file does not exist.

        Raises:
            FormatError: the file is damaged or holds colors. DataSetError: values outside the class list, or
                more colors of no class than `unknown_colors_allowed`; fewer are ignored.
        """
        path = self.label_path(self.ids[index])
        if path is None or not path.exists():
            return None
        label = self.read_mapped_label(path)
        unknown = label == UNKNOWN_COLOR
        if unknown.mean() > self.unknown_colors_allowed:
            found = UnknownColors(pixels=label.size)
            found.add(path, self.listed_colors)
            raise DataSetError(found.describe(self.classes), where=path, hint=found.advice(self.classes))
        label[unknown] = self.ignore_index
        wrong = np.unique(label[((label < 0) | (label >= len(self.classes))) & (label != self.ignore_index)])
        if len(wrong):
            shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
            raise DataSetError(
                f"label values {shown} name no class",
                where=path,
                expected=f"0 to {len(self.classes) - 1} or {self.ignore_index} (ignore)",
                hint=advice.command("check", self.root),
            )
        return label

    def read_mapped_label(self, path: Path) -> np.ndarray:
        """The label (H, W) int64, mapped and cropped; its values are not judged, see `load_label`."""
        return self.crop(self.map_label(self.read_stored_label(path))).astype(np.int64)

    def _sensor(self, sample_id: str, modality: str, size: tuple[int, int]) -> np.ndarray:
        """The model tensor (C, *size) float32."""
        path, time_us = self.sensor_path(sample_id, modality), self.time_us(sample_id)
        options = self.sensor_options(sample_id, modality)
        parameters = {"modality": modality, "size": size, "at_us": time_us, "options": options}
        return self._cache.get(
            path, parameters, lambda: self.make_sensor(path, modality, size, time_us, options)
        )

    def make_sensor(
        self, path: Path, modality: str, size: tuple[int, int], time_us: int | None, options: dict[str, Any]
    ) -> SensorTensor:
        """One frame of the model tensor made from a raw or converted file."""
        return convert.to_tensor(path, modality=modality, size=size, at_us=time_us, options=options)
