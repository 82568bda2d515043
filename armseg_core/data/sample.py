"""What a data set hands out: one Sample, and what a class of it is called.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armseg_core.errors import DataSetError
from armseg_core.sensors.modalities import MODALITIES


@dataclass(frozen=True)
class ClassInfo:
    """A class: its name (used as the text prompt), its color in pictures and other words for it."""

    name: str
    color: tuple[int, int, int]
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One scene, all of it on one pixel grid.

    id: the sample's name in its data set.
    rgb: float32 (3, H, W) in [0, 1].
    label: int64 (H, W) class indices, the data set's ignore_index where unknown; None without a label.
    sensors: modality name -> float32 (C, H, W) model tensor with the channels of `sensors/modalities.py`. A
    sensor
        that the sample lacks is not in the dict.
    """

    id: str
    rgb: np.ndarray
    label: np.ndarray | None
    sensors: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or len(self.rgb) != 3 or self.rgb.dtype != np.float32:
            raise DataSetError(
                f"rgb is {self.rgb.dtype} {self.rgb.shape}", where=self.id, expected="float32 (3, H, W)"
            )
        if self.label is not None and (self.label.shape != self.size or self.label.dtype != np.int64):
            raise DataSetError(
                f"label is {self.label.dtype} {self.label.shape}",
                where=self.id,
                expected=f"int64 {self.size}",
            )
        for name, tensor in self.sensors.items():
            expected = (MODALITIES[name].num_channels, *self.size)
            if tensor.shape != expected or tensor.dtype != np.float32:
                raise DataSetError(
                    f"{name} tensor is {tensor.dtype} {tensor.shape}",
                    where=self.id,
                    expected=f"float32 {expected}",
                )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rgb.shape[1], self.rgb.shape[2]


def default_color(index: int) -> tuple[int, int, int]:
    """The PASCAL VOC color of class `index` + 1: distinct colors for classes that name none.

    The bits of the number are dealt out to red, green and blue in turn, highest bit first.
    """
    value, color = index + 1, [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            color[channel] |= (value >> channel & 1) << bit
        value >>= 3
    return color[0], color[1], color[2]
